//! Rows as real logs have them: without a user, twice, with absurd amounts, in 1970, misspelt.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::calendar::MINUTE_US;
use super::shop::{Shop, Stream};
use super::visits::{CART, PURCHASE, REFERRAL, REFUND, REVIEW, Row, SHARE, SIGNUP, VIEW};

/// Goes over the clean `rows` of `customer`: the share `dirt` of them is followed by a dirty copy or, one time in six to eight, gets
/// another spelling of its event type. Nothing else of a clean row changes.
pub(super) fn spread(shop: &Shop, customer: u64, rows: &mut Vec<Row>) {
    let mut rng = shop.generator(customer, Stream::Dirt);
    let clean = rows.len();
    for i in 0..clean {
        if rng.random::<f64>() >= shop.params.dirt {
            continue;
        }
        // The last two are for purchases only.
        let kinds = if rows[i].event_type == PURCHASE { 8 } else { 6 };
        match rng.random_range(0..kinds) {
            0 => rows[i].event_type = misspelt(rows[i].event_type, &mut rng),
            kind => {
                let copy = dirty(rows[i], kind, &mut rng);
                rows.push(copy);
            }
        }
    }
    if rows.len() > clean {
        rows.sort_by_key(|r| r.ts);
    }
}

fn dirty(row: Row, kind: u32, rng: &mut ChaCha8Rng) -> Row {
    match kind {
        1 => Row { anonymous: true, ..row },
        2 => row,
        3 => Row { ts: rng.random_range(0..60) * MINUTE_US, ..row },
        4 => Row { item: None, ..row },
        5 => Row { event_type: "???", ..row },
        6 => Row { pence: None, ..row },
        _ => Row { pence: row.pence.map(|p| if rng.random() { 0 } else { -p }), ..row },
    }
}

/// The event type as somebody else writes it.
fn misspelt(event_type: &'static str, rng: &mut ChaCha8Rng) -> &'static str {
    let spellings: [&'static str; 2] = match event_type {
        VIEW => ["page_view", " View"],
        CART => ["add_to_cart", "Add To Cart"],
        PURCHASE => ["Purchase ", "PURCHASE"],
        REFUND => ["Refund", "refunded"],
        REVIEW => ["Review ", "product_reviewed"],
        SHARE => ["SHARE", "shared"],
        REFERRAL => ["Referral", "invite"],
        SIGNUP => ["sign_up", "Registered "],
        other => [other, other],
    };
    spellings[usize::from(rng.random::<bool>())]
}

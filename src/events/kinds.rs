//! Event types: the canonical ones, and the spellings that shops use for them.

use std::collections::BTreeMap;

/// Codes of the canonical event types.
pub mod kind {
    pub const OTHER: i8 = 0;
    pub const PURCHASE: i8 = 1;
    pub const REFUND: i8 = 2;
    pub const VIEW: i8 = 3;
    pub const SEARCH: i8 = 4;
    pub const CART: i8 = 5;
    pub const RATING: i8 = 6;
    pub const REVIEW: i8 = 7;
    pub const SHARE: i8 = 8;
    pub const REFERRAL: i8 = 9;
    pub const CAMPAIGN: i8 = 10;
    pub const SIGNUP: i8 = 11;

    /// Names by code, from 1.
    pub const NAMES: [&str; 11] =
        ["purchase", "refund", "view", "search", "cart", "rating", "review", "share", "referral", "campaign", "signup"];
}

/// Usual spellings: e-commerce data sets, Google Analytics 4, Segment.
const SPELLINGS: [(i8, &[&str]); 11] = [
    (
        kind::PURCHASE,
        &[
            "buy",
            "bought",
            "order",
            "ordered",
            "sale",
            "transaction",
            "checkout",
            "order_completed",
            "order_placed",
            "in_app_purchase",
            "payment",
        ],
    ),
    (kind::REFUND, &["refunded", "return", "returned", "order_refunded", "order_cancelled", "cancel", "cancellation", "chargeback"]),
    (
        kind::VIEW,
        &[
            "pv",
            "page_view",
            "pageview",
            "view_item",
            "item_view",
            "product_viewed",
            "product_view",
            "click",
            "clicks",
            "detail",
            "detail_view",
            "impression",
            "select_item",
        ],
    ),
    (kind::SEARCH, &["query", "products_searched", "view_search_results", "searched"]),
    (
        kind::CART,
        &[
            "add_to_cart",
            "addtocart",
            "cart_add",
            "product_added",
            "basket",
            "add_to_basket",
            "fav",
            "favorite",
            "favourite",
            "wishlist",
            "add_to_wishlist",
            "begin_checkout",
            "checkout_started",
        ],
    ),
    (kind::RATING, &["rate", "rated", "stars"]),
    (kind::REVIEW, &["reviewed", "product_reviewed", "comment"]),
    (kind::SHARE, &["shared", "product_shared"]),
    (kind::REFERRAL, &["refer", "referred", "invite", "invited"]),
    (kind::CAMPAIGN, &["email_sent", "email", "push", "campaign_sent", "promotion", "view_promotion"]),
    (kind::SIGNUP, &["sign_up", "signed_up", "register", "registered", "registration", "account_created"]),
];

/// Lower case, trimmed, with `_` between words.
fn normal(spelling: &str) -> String {
    spelling.trim().to_lowercase().replace([' ', '-'], "_")
}

/// From spelling to canonical event type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct EventMap {
    added: BTreeMap<String, i8>,
}

impl EventMap {
    /// Reads `'page_view=view,bought=purchase'`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut added = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((from, to)) = pair.split_once('=') else {
                return Err(format!("'{pair}' is not of the form spelling=type"));
            };
            let Some(code) = kind::NAMES.iter().position(|n| *n == normal(to)) else {
                return Err(format!("'{}' is no event type; allowed: {}", to.trim(), kind::NAMES.join(", ")));
            };
            added.insert(normal(from), code as i8 + 1);
        }
        Ok(Self { added })
    }

    /// The code of a spelling; [`kind::OTHER`] when it is unknown.
    pub fn code(&self, spelling: &str) -> i8 {
        let name = normal(spelling);
        if let Some(&code) = self.added.get(&name) {
            return code;
        }
        if let Some(at) = kind::NAMES.iter().position(|n| *n == name) {
            return at as i8 + 1;
        }
        SPELLINGS.iter().find(|(_, s)| s.contains(&name.as_str())).map_or(kind::OTHER, |(code, _)| *code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_map_and_the_setting_wins() {
        let map = EventMap::parse("pv=search, Gekauft = purchase").unwrap();
        let codes = ["Purchase ", "Add To Cart", "add-to-cart", "pv", "gekauft", "???", "Order Completed"].map(|s| map.code(s));
        use kind::*;
        assert_eq!(codes, [PURCHASE, CART, CART, SEARCH, PURCHASE, OTHER, PURCHASE]);
        assert!(EventMap::parse("a=b").unwrap_err().contains("'b' is no event type"));
        assert!(EventMap::parse("a").unwrap_err().contains("spelling=type"));
    }
}

//! What one customer does in the shop: sessions of views, carts and orders, and what follows from them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

use super::calendar::{Calendar, DAY_US, MINUTE_US, START_US};
use super::catalogue::Taste;
use super::customer::{Life, Order};
use super::shop::{Shop, Stream};

pub(super) const VIEW: &str = "view";
pub(super) const CART: &str = "cart";
pub(super) const PURCHASE: &str = "purchase";
pub(super) const REFUND: &str = "refund";
pub(super) const REVIEW: &str = "review";
pub(super) const SHARE: &str = "share";
pub(super) const REFERRAL: &str = "referral";
pub(super) const SIGNUP: &str = "signup";

/// One event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub ts: i64,
    pub event_type: &'static str,
    pub item: Option<u32>,
    pub quantity: Option<i64>,
    pub pence: Option<i64>,
    /// Number of the order among the customer's.
    pub order: Option<u32>,
    pub channel: Option<&'static str>,
    /// Number of the session among the customer's.
    pub session: Option<u32>,
    pub rating: Option<i64>,
    pub referrer: Option<u64>,
    /// Whether the row has lost its user.
    pub anonymous: bool,
}

impl Row {
    fn new(ts: i64, event_type: &'static str) -> Self {
        Self {
            ts,
            event_type,
            item: None,
            quantity: None,
            pence: None,
            order: None,
            channel: None,
            session: None,
            rating: None,
            referrer: None,
            anonymous: false,
        }
    }
}

/// Channels, and the share of customers who prefer each.
const CHANNELS: [(&str, f32); 5] = [("organic", 0.34), ("email", 0.2), ("paid", 0.18), ("social", 0.13), ("direct", 0.15)];
/// Share of a customer's sessions that come through the preferred channel.
const CHANNEL_LOYALTY: f32 = 0.6;
const REVIEW_PROB: f32 = 0.08;
const SIGNUP_PROB: f32 = 0.8;
const PROSPECT_SIGNUP_PROB: f32 = 0.4;
const ABANDONED_CART_PROB: f32 = 0.2;
/// A session with a share, of those without an order.
const SHARE_PROB: f32 = 0.02;
/// Browsing of those who have left, relative to before.
const BROWSING_AFTER_LEAVING: f64 = 0.15;
/// Mean days for which a prospect keeps coming back.
const PROSPECT_INTEREST_DAYS: f64 = 120.0;
/// Mean days of browsing before the first purchase.
const CONSIDERATION_DAYS: f64 = 10.0;
const MAX_LINES: usize = 8;

/// The events of a customer while they are written.
struct Visits<'a> {
    shop: &'a Shop,
    rng: ChaCha8Rng,
    taste: Taste,
    favourite_channel: &'static str,
    sessions: u32,
    rows: &'a mut Vec<Row>,
}

/// Puts the clean events of `customer` in the place of `rows`, by time.
pub(super) fn write(shop: &Shop, customer: u64, rows: &mut Vec<Row>) {
    rows.clear();
    let life = Life::draw(shop, customer, shop.calendar.days());
    let mut rng = shop.generator(customer, Stream::Visits);
    let taste = Taste::draw(&shop.catalogue, &mut rng);
    let favourite_channel = channel(&mut rng);
    let mut visits = Visits { shop, rng, taste, favourite_channel, sessions: 0, rows };
    for (number, order) in life.orders.iter().enumerate() {
        visits.order(number as u32 + 1, order);
    }
    visits.browse(&life);
    visits.sign_up(&life, shop.referrer(customer));
    for referee in shop.referees(customer) {
        visits.rows.push(Row::new(shop.origin(referee).signup_us(), REFERRAL));
    }
    let end = shop.calendar.end_us();
    rows.retain(|r| r.ts < end);
    // Stable: lines of an order stay in the order of the basket.
    rows.sort_by_key(|r| r.ts);
}

/// The category that `customer` likes best.
pub(super) fn favourite_category(shop: &Shop, customer: u64) -> &'static str {
    let taste = Taste::draw(&shop.catalogue, &mut shop.generator(customer, Stream::Visits));
    super::catalogue::category_name(taste.favourite)
}

fn channel(rng: &mut ChaCha8Rng) -> &'static str {
    let mut u = rng.random::<f32>();
    for (name, share) in CHANNELS {
        if u < share {
            return name;
        }
        u -= share;
    }
    CHANNELS[0].0
}

/// A count of 0, 1, 2, ... up to `max`, where each one is followed by another with probability `more`.
fn geometric(more: f32, max: usize, rng: &mut ChaCha8Rng) -> usize {
    let mut n = 0;
    while n < max && rng.random::<f32>() < more {
        n += 1;
    }
    n
}

impl Visits<'_> {
    fn pick(&mut self) -> u32 {
        self.taste.pick(&self.shop.catalogue, &mut self.rng)
    }

    fn channel(&mut self) -> &'static str {
        if self.rng.random::<f32>() < CHANNEL_LOYALTY { self.favourite_channel } else { channel(&mut self.rng) }
    }

    /// Between two events of a session.
    fn pause(&mut self) -> i64 {
        self.rng.random_range(8_000_000_u32..80_000_000).into()
    }

    fn push_in_session(&mut self, ts: i64, event_type: &'static str, item: u32, channel: &'static str) {
        let session = Some(self.sessions);
        self.rows.push(Row { item: Some(item), channel: Some(channel), session, ..Row::new(ts, event_type) });
    }

    /// The session of an order: every item of the basket is viewed and put into the cart, others are looked at.
    fn order(&mut self, number: u32, order: &Order) {
        self.sessions += 1;
        let channel = self.channel();
        let mut basket = [0; MAX_LINES];
        let lines = self.fill(&mut basket);
        let basket = &basket[..lines];
        let left_in_cart = self.rng.random::<f32>() < ABANDONED_CART_PROB;
        // Backwards from the till; nothing happens before the start of the log.
        let mut ts = order.ts;
        for &item in basket.iter().rev() {
            ts = (ts - self.pause()).max(START_US);
            self.push_in_session(ts, CART, item, channel);
            ts = (ts - self.pause()).max(START_US);
            self.push_in_session(ts, VIEW, item, channel);
        }
        for looked_at in 0..1 + geometric(0.7, 20, &mut self.rng) {
            let item = self.taste.companion(basket[0], &self.shop.catalogue, &mut self.rng);
            if looked_at == 0 && left_in_cart {
                ts = (ts - self.pause()).max(START_US);
                self.push_in_session(ts, CART, item, channel);
            }
            ts = (ts - self.pause()).max(START_US);
            self.push_in_session(ts, VIEW, item, channel);
        }
        self.pay(number, order, basket, channel);
    }

    /// Chooses different items that go together; returns how many.
    fn fill(&mut self, basket: &mut [u32; MAX_LINES]) -> usize {
        basket[0] = self.pick();
        let mut lines = 1;
        for _ in 0..geometric(0.55, MAX_LINES - 1, &mut self.rng) {
            let item = self.taste.companion(basket[0], &self.shop.catalogue, &mut self.rng);
            if !basket[..lines].contains(&item) {
                basket[lines] = item;
                lines += 1;
            }
        }
        lines
    }

    /// The lines of an order, which add up to its value; its refund and review.
    fn pay(&mut self, number: u32, order: &Order, basket: &[u32], channel: &'static str) {
        let mut weights = [0.0; MAX_LINES];
        for (w, &item) in weights.iter_mut().zip(basket) {
            *w = self.shop.catalogue.item(item).price_pence as f64 * self.rng.random_range(0.7..1.3);
        }
        let mut weight_left: f64 = weights.iter().sum();
        let mut pence_left = order.pence;
        for (i, (&item, weight)) in basket.iter().zip(weights).enumerate() {
            // Every line after this one needs a penny.
            let most = pence_left - (basket.len() - 1 - i) as i64;
            let is_last = i + 1 == basket.len();
            let pence = if is_last { pence_left } else { ((pence_left as f64 * weight / weight_left) as i64).clamp(1, most) };
            weight_left -= weight;
            pence_left -= pence;
            let price = self.shop.catalogue.item(item).price_pence;
            let line = Row {
                item: Some(item),
                quantity: Some(((pence as f64 / price as f64).round() as i64).max(1)),
                pence: Some(pence),
                order: Some(number),
                channel: Some(channel),
                session: Some(self.sessions),
                ..Row::new(order.ts, PURCHASE)
            };
            self.rows.push(line);
            if let Some(ts) = order.refunded_us {
                self.rows.push(Row { ts, event_type: REFUND, pence: Some(-pence), channel: None, session: None, ..line });
            }
        }
        if self.rng.random::<f32>() < REVIEW_PROB {
            self.review(number, order, basket);
        }
    }

    fn review(&mut self, number: u32, order: &Order, basket: &[u32]) {
        let item = basket[self.rng.random_range(0..basket.len())];
        let noise: f64 = StandardNormal.sample(&mut self.rng);
        let rating = (4.0 + self.shop.catalogue.item(item).quality + 0.8 * noise).round().clamp(1.0, 5.0) as i64;
        let ts = order.ts + self.rng.random_range(3 * DAY_US..20 * DAY_US);
        self.rows.push(Row { item: Some(item), rating: Some(rating), order: Some(number), ..Row::new(ts, REVIEW) });
    }

    /// Sessions without an order, from some time before the first purchase on; a Poisson process
    /// in shop time, thinned by season and after leaving.
    fn browse(&mut self, life: &Life) {
        let calendar = &self.shop.calendar;
        let origin = life.origin;
        let drawn: f64 = self.shop.samplers.browsing.sample(&mut self.rng);
        let rate = (drawn + if origin.is_prospect { 0.0 } else { life.lambda }).max(1e-6);
        let length: f64 = Exp1.sample(&mut self.rng);
        let (mut t, end) = if origin.is_prospect {
            self.browsing_session(origin.joined_us);
            (origin.joined, calendar.end().min(origin.joined + length * PROSPECT_INTEREST_DAYS))
        } else {
            ((origin.joined - length * CONSIDERATION_DAYS).max(0.0), calendar.end())
        };
        loop {
            let gap: f64 = Exp1.sample(&mut self.rng);
            t += gap / rate;
            if t >= end {
                return;
            }
            let at = calendar.moment(t);
            let liveliness = if life.is_alive(at.ts()) { 1.0 } else { BROWSING_AFTER_LEAVING };
            if self.rng.random::<f64>() < liveliness * Calendar::browsing(at.day) {
                self.browsing_session(at.ts());
            }
        }
    }

    fn browsing_session(&mut self, start: i64) {
        self.sessions += 1;
        let channel = self.channel();
        let (mut ts, mut item) = (start, self.pick());
        self.push_in_session(ts, VIEW, item, channel);
        for _ in 0..geometric(0.75, 30, &mut self.rng) {
            ts += self.pause();
            item = self.taste.companion(item, &self.shop.catalogue, &mut self.rng);
            self.push_in_session(ts, VIEW, item, channel);
        }
        if self.rng.random::<f32>() < ABANDONED_CART_PROB {
            ts += self.pause();
            self.push_in_session(ts, CART, item, channel);
        }
        if self.rng.random::<f32>() < SHARE_PROB {
            ts += self.pause();
            self.push_in_session(ts, SHARE, item, channel);
        }
    }

    /// Those who were referred always sign up, others often.
    fn sign_up(&mut self, life: &Life, referrer: Option<u64>) {
        let origin = life.origin;
        let prob = if origin.is_prospect { PROSPECT_SIGNUP_PROB } else { SIGNUP_PROB };
        if self.rng.random::<f32>() >= prob && referrer.is_none() {
            return;
        }
        // A prospect signs up in the first visit.
        let ts = if origin.is_prospect { origin.joined_us + MINUTE_US } else { origin.signup_us() };
        let channel = Some(self.favourite_channel);
        self.rows.push(Row { channel, referrer, ..Row::new(ts, SIGNUP) });
    }
}

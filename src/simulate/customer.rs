//! One customer's life: when it joins, what it orders, when it leaves.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use super::calendar::{DAY_US, MINUTE_US, START_US};
use super::shop::{Shop, Stream};

/// How and when a user comes to the shop.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Shop time of the first purchase, or of a prospect's first visit.
    pub joined: f64,
    pub joined_us: i64,
    /// Looks and never buys.
    pub is_prospect: bool,
}

impl Origin {
    fn draw(shop: &Shop, rng: &mut ChaCha8Rng) -> Self {
        let joined = shop.calendar.end() * rng.random::<f64>();
        Self { joined, joined_us: shop.calendar.moment(joined).ts(), is_prospect: rng.random::<f64>() < shop.population.prospects }
    }

    /// A buyer signs up at the till.
    pub fn signup_us(&self) -> i64 {
        (self.joined_us - MINUTE_US).max(START_US)
    }
}

/// One order; a customer orders at most once a day.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub ts: i64,
    pub pence: i64,
    /// When the whole order is given back.
    pub refunded_us: Option<i64>,
}

const REFUND_PROB: f64 = 0.04;
/// The smallest order, so that every line of it can have a price.
const MIN_ORDER_PENCE: f64 = 100.0;

/// A life up to some day. Prospects have no orders.
pub(super) struct Life {
    pub origin: Origin,
    /// Purchases a day of shop time, while alive.
    pub lambda: f64,
    /// Probability of leaving after a repeat purchase.
    pub dropout_prob: f64,
    /// Pounds.
    pub mean_order_value: f64,
    pub orders: Vec<Order>,
    /// The purchase after which the customer left.
    pub left_us: Option<i64>,
}

impl Life {
    /// The life of `customer` in the days before `until`. A longer life begins with the shorter one.
    pub fn draw(shop: &Shop, customer: u64, until: u32) -> Self {
        let mut rng = shop.generator(customer, Stream::Life);
        let origin = Origin::draw(shop, &mut rng);
        let samplers = &shop.samplers;
        // The floors keep gaps and values finite.
        let lambda = samplers.rate.sample(&mut rng).max(1e-9);
        let dropout_prob = samplers.dropout.sample(&mut rng);
        let nu = samplers.nu.sample(&mut rng).max(1e-3);
        let mean_order_value = shop.population.p / nu;
        let mut life = Self { origin, lambda, dropout_prob, mean_order_value, orders: vec![], left_us: None };
        if !origin.is_prospect {
            life.buy(shop, nu, until, &mut rng);
        }
        life
    }

    fn buy(&mut self, shop: &Shop, nu: f64, until: u32, rng: &mut ChaCha8Rng) {
        let mut t = self.origin.joined;
        let mut next_free_day = 0;
        loop {
            // Purchases of one day would count as one, so the second waits for the next day.
            let mut at = shop.calendar.moment(t);
            at.day = at.day.max(next_free_day);
            if at.day >= until {
                return;
            }
            next_free_day = at.day + 1;
            let ts = at.ts();
            let pounds = shop.samplers.order_value.sample(rng) / nu;
            let pence = (pounds * 100.0).round().max(MIN_ORDER_PENCE) as i64;
            let refunded = rng.random::<f64>() < REFUND_PROB;
            let refunded_us = refunded.then(|| ts + rng.random_range(2 * DAY_US..14 * DAY_US));
            let is_repeat = !self.orders.is_empty();
            self.orders.push(Order { ts, pence, refunded_us });
            if is_repeat && rng.random::<f64>() < self.dropout_prob {
                self.left_us = Some(ts);
                return;
            }
            let gap: f64 = Exp1.sample(rng);
            t += gap / self.lambda;
        }
    }

    /// Whether the customer has not left by `ts`.
    pub fn is_alive(&self, ts: i64) -> bool {
        self.left_us.is_none_or(|left| left >= ts)
    }

    /// Purchases to expect in the next `t` of shop time of a customer who is alive: E(X(t) | λ, p) = (1 − e^(−λpt))/p
    /// (Fader, Hardie & Lee 2005).
    pub fn expected_purchases(&self, t: f64) -> f64 {
        let leaving = self.lambda * self.dropout_prob * t;
        // Near p = 0 the limit λt.
        if leaving < 1e-12 { self.lambda * t } else { -(-leaving).exp_m1() / self.dropout_prob }
    }
}

impl Shop {
    /// Where the life of `customer` begins, without living it.
    pub(super) fn origin(&self, customer: u64) -> Origin {
        Origin::draw(self, &mut self.generator(customer, Stream::Life))
    }
}

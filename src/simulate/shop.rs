//! The parameters of a shop, and what all its customers share.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Gamma};

use super::calendar::{Calendar, FUTURE_DAYS};
use super::catalogue::Catalogue;

/// What is asked for; made by [`ShopParams::new`], which checks it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShopParams {
    pub users: u64,
    /// Length of the log in days, from 2024-01-01T00:00:00Z.
    pub days: u32,
    pub seed: u64,
    /// Share of dirty rows, relative to the clean ones.
    pub dirt: f64,
}

/// An argument out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("argument '{argument}' = {given}: must be {allowed}")]
pub struct SimulateError {
    pub argument: &'static str,
    pub given: String,
    pub allowed: &'static str,
}

impl ShopParams {
    /// # Errors
    /// `users` outside 1 to 100,000,000, `days` outside 30 to 3650, or `dirt` outside 0 to 0.5.
    pub fn new(users: u64, days: u32, seed: u64, dirt: f64) -> Result<Self, SimulateError> {
        let out_of_range = |argument, given, allowed| Err(SimulateError { argument, given, allowed });
        if !(1..=100_000_000).contains(&users) {
            return out_of_range("users", users.to_string(), "a whole number from 1 to 100,000,000");
        }
        if !(30..=3650).contains(&days) {
            return out_of_range("days", days.to_string(), "a whole number from 30 to 3650");
        }
        if !(0.0..=0.5).contains(&dirt) {
            return out_of_range("dirt", dirt.to_string(), "a share from 0 to 0.5");
        }
        Ok(Self { users, days, seed, dirt })
    }
}

/// The distributions that customers are drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Population {
    /// Shape of the purchase rates λ.
    pub r: f64,
    /// Rate parameter of the purchase rates λ, **days**; the mean rate is r/α purchases a day.
    pub alpha: f64,
    /// First parameter of the dropout probabilities.
    pub a: f64,
    /// Second parameter of the dropout probabilities.
    pub b: f64,
    /// Shape of the order values of one customer.
    pub p: f64,
    /// Shape of the customers' ν.
    pub q: f64,
    /// Rate parameter of the customers' ν, **pounds**; the mean order value is p·v/(q − 1).
    pub v: f64,
    /// Share of users who look and never buy. All parameters above are those of the buyers.
    pub prospects: f64,
}

/// 2.6 orders a year while alive, dropout after 31 % of the repeat orders on average, £41.67 an order.
/// Dropout is mixed (a < 1), so that a and b can be recovered: fits to 20,000 users × 730 days scatter by about 5 % around 5 % less
/// than the truth, of which the season makes 2 %.
const POPULATION: Population = Population { r: 0.7, alpha: 100.0, a: 0.5, b: 1.1, p: 5.0, q: 4.0, v: 25.0, prospects: 0.1 };

/// The samplers of a [`Population`].
pub(super) struct Samplers {
    pub rate: Gamma<f64>,
    pub dropout: Beta<f64>,
    pub nu: Gamma<f64>,
    /// An order value for ν = 1.
    pub order_value: Gamma<f64>,
    /// Browsing sessions a day, beside one for each order: 13 a year on average, before the season.
    pub browsing: Gamma<f64>,
}

impl Samplers {
    fn new(of: &Population) -> Self {
        let gamma = |shape, scale| Gamma::new(shape, scale).expect("shape and scale of a population are positive");
        Self {
            rate: gamma(of.r, 1.0 / of.alpha),
            dropout: Beta::new(of.a, of.b).expect("the parameters of a population are positive"),
            nu: gamma(of.q, 1.0 / of.v),
            order_value: gamma(of.p, 1.0),
            browsing: gamma(1.5, 0.024),
        }
    }
}

/// Which of a customer's generators: drawing from one never moves another.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Life = 0,
    Visits = 1,
    Dirt = 2,
}

/// A simulated shop. Holds the catalogue and the calendar only; customers are made when they are asked for.
pub struct Shop {
    pub(super) params: ShopParams,
    pub(super) population: Population,
    pub(super) samplers: Samplers,
    pub(super) calendar: Calendar,
    pub(super) catalogue: Catalogue,
    /// How far behind a referee its referrer can stand, by slot.
    strides: [u64; REFERRAL_SLOTS],
}

/// Most referees a customer can have.
const REFERRAL_SLOTS: usize = 16;

impl Shop {
    pub fn new(params: ShopParams) -> Self {
        let items = (50 + params.users / 20).min(5_000) as u32;
        let mut rng = generator(params.seed, u64::MAX, Stream::Life);
        let reach = (params.users / 2).max(1);
        Self {
            population: POPULATION,
            samplers: Samplers::new(&POPULATION),
            calendar: Calendar::new(params.days, params.days + FUTURE_DAYS),
            catalogue: Catalogue::new(items, &mut rng),
            strides: std::array::from_fn(|slot| 1 + hash(params.seed, u64::MAX - slot as u64) % reach),
            params,
        }
    }

    /// The parameters that customers are drawn from.
    pub fn population(&self) -> Population {
        self.population
    }

    pub(super) fn generator(&self, customer: u64, stream: Stream) -> ChaCha8Rng {
        generator(self.params.seed, customer, stream)
    }

    /// Who may have referred `customer`, looking at indices alone: about 17 % of customers have somebody.
    fn candidate_referrer(&self, customer: u64) -> Option<u64> {
        let h = hash(self.params.seed, customer);
        let referrer = customer.checked_sub(self.strides[h as usize % REFERRAL_SLOTS])?;
        let invited = (h >> 8) % 10 < 4;
        // A quarter of the customers are advocates, from whom every invitation comes through.
        let is_advocate = hash(!self.params.seed, referrer).is_multiple_of(4);
        (invited && (is_advocate || (h >> 32).is_multiple_of(4))).then_some(referrer)
    }

    /// Who referred `customer`: a buyer of a smaller index who joined earlier. Found without a look at anybody else, so
    /// that [`Shop::referees`] can ask it backwards.
    pub(super) fn referrer(&self, customer: u64) -> Option<u64> {
        let referrer = self.candidate_referrer(customer)?;
        let (referee, by) = (self.origin(customer), self.origin(referrer));
        (!referee.is_prospect && !by.is_prospect && by.joined_us < referee.signup_us()).then_some(referrer)
    }

    /// The customers whom `customer` referred.
    pub(super) fn referees(&self, customer: u64) -> impl Iterator<Item = u64> {
        let users = self.params.users;
        self.strides.iter().enumerate().filter_map(move |(slot, stride)| {
            let referee = customer.checked_add(*stride).filter(|c| *c < users)?;
            let in_slot = hash(self.params.seed, referee) as usize % REFERRAL_SLOTS == slot;
            (in_slot && self.referrer(referee) == Some(customer)).then_some(referee)
        })
    }
}

/// A generator of customer `index`.
fn generator(seed: u64, index: u64, stream: Stream) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream as u64);
    rng
}

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014) over both words.
fn hash(seed: u64, index: u64) -> u64 {
    let mix = |z: u64| {
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    mix(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

//! What the shop sells, and what a customer likes of it.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Names, and median prices in pounds.
const CATEGORIES: [(&str, f64); 12] = [
    ("clothing", 22.0),
    ("beauty", 12.0),
    ("home", 18.0),
    ("books", 9.0),
    ("electronics", 45.0),
    ("toys", 14.0),
    ("sports", 26.0),
    ("garden", 16.0),
    ("kitchen", 15.0),
    ("pets", 11.0),
    ("music", 10.0),
    ("stationery", 6.0),
];

/// Items of one collection: things that go together.
const COLLECTION_SIZE: usize = 8;

pub(super) struct Item {
    pub id: String,
    pub category: u8,
    pub collection: u32,
    pub price_pence: i64,
    /// Mean rating minus the shop's.
    pub quality: f64,
}

impl Item {
    pub fn category(&self) -> &'static str {
        category_name(self.category)
    }
}

pub(super) fn category_name(category: u8) -> &'static str {
    CATEGORIES[category as usize].0
}

/// Items that are picked with weights.
struct Shelf {
    items: Vec<u32>,
    /// Share of the weight up to and with each item.
    shares: Vec<f32>,
}

impl Shelf {
    /// Weights by Zipf's law with exponent 0.8 in the order of `items`.
    fn new(items: Vec<u32>) -> Self {
        let shares = shares((1..=items.len()).map(|rank| (rank as f64).powf(-0.8)));
        Self { items, shares }
    }

    fn pick(&self, rng: &mut ChaCha8Rng) -> u32 {
        self.items[pick(&self.shares, rng)]
    }
}

fn shares(weights: impl Iterator<Item = f64> + Clone) -> Vec<f32> {
    let total: f64 = weights.clone().sum();
    let mut sum = 0.0;
    weights
        .map(|w| {
            sum += w;
            (sum / total) as f32
        })
        .collect()
}

fn pick(shares: &[f32], rng: &mut ChaCha8Rng) -> usize {
    let at = rng.random::<f32>();
    shares.partition_point(|s| *s <= at).min(shares.len() - 1)
}

pub(super) struct Catalogue {
    pub items: Vec<Item>,
    category_shares: Vec<f32>,
    categories: Vec<Shelf>,
    collections: Vec<Shelf>,
    /// Collections of each category: first and number.
    collections_of: Vec<(u32, u32)>,
}

impl Catalogue {
    /// A catalogue of `n` items, at least one a category.
    pub fn new(n: u32, rng: &mut ChaCha8Rng) -> Self {
        // Identifiers say nothing of category or popularity.
        let mut order: Vec<u32> = (0..n).collect();
        order.shuffle(rng);
        let (mut categories, mut collections, mut collections_of) = (vec![], vec![], vec![]);
        let mut items: Vec<Option<Item>> = (0..n).map(|_| None).collect();
        for (category, (_, price)) in CATEGORIES.iter().enumerate() {
            let ranked: Vec<u32> = order.iter().copied().skip(category).step_by(CATEGORIES.len()).collect();
            let first = collections.len();
            let count = (ranked.len() / COLLECTION_SIZE).max(1);
            for c in 0..count {
                collections.push(Shelf::new(ranked.iter().copied().skip(c).step_by(count).collect()));
            }
            collections_of.push((first as u32, count as u32));
            for (rank, &item) in ranked.iter().enumerate() {
                items[item as usize] = Some(new_item(item, category as u8, (first + rank % count) as u32, *price, rng));
            }
            categories.push(Shelf::new(ranked));
        }
        let category_shares = shares((0..CATEGORIES.len()).map(|c| 1.0 / (c as f64 + 4.0)));
        Self { items: items.into_iter().flatten().collect(), category_shares, categories, collections, collections_of }
    }

    pub fn item(&self, item: u32) -> &Item {
        &self.items[item as usize]
    }
}

fn new_item(item: u32, category: u8, collection: u32, median_price: f64, rng: &mut ChaCha8Rng) -> Item {
    let spread: f64 = StandardNormal.sample(rng);
    let quality: f64 = StandardNormal.sample(rng);
    // Prices such as 7.49 and 7.99.
    let price_pence = ((median_price * (0.5 * spread).exp() * 2.0).round() as i64 * 50 - 1).max(99);
    Item { id: format!("P{:05}", item + 1), category, collection, price_pence, quality: 0.5 * quality }
}

/// What one customer likes: one or two categories, and two collections in each.
pub(super) struct Taste {
    pub favourite: u8,
    second: u8,
    /// Favourite collections: two of the first category, two of the second.
    collections: [u32; 4],
}

impl Taste {
    pub fn draw(catalogue: &Catalogue, rng: &mut ChaCha8Rng) -> Self {
        let favourite = pick(&catalogue.category_shares, rng);
        let another = pick(&catalogue.category_shares, rng);
        let second = if rng.random::<f32>() < 0.6 { another } else { favourite };
        let mut collection = |category: usize| {
            let (first, count) = catalogue.collections_of[category];
            first + rng.random_range(0..count)
        };
        let collections = [collection(favourite), collection(favourite), collection(second), collection(second)];
        Self { favourite: favourite as u8, second: second as u8, collections }
    }

    /// An item that the customer looks at.
    pub fn pick(&self, catalogue: &Catalogue, rng: &mut ChaCha8Rng) -> u32 {
        let u = rng.random::<f32>();
        let (category, favourites) = match u {
            _ if u < 0.58 => (self.favourite, &self.collections[..2]),
            _ if u < 0.84 => (self.second, &self.collections[2..]),
            _ => return catalogue.categories[pick(&catalogue.category_shares, rng)].pick(rng),
        };
        match rng.random_range(0..10) {
            0..=3 => catalogue.collections[favourites[0] as usize].pick(rng),
            4..=6 => catalogue.collections[favourites[1] as usize].pick(rng),
            _ => catalogue.categories[category as usize].pick(rng),
        }
    }

    /// An item to go with `item`: of the same collection half of the time.
    pub fn companion(&self, item: u32, catalogue: &Catalogue, rng: &mut ChaCha8Rng) -> u32 {
        if rng.random::<bool>() {
            return catalogue.collections[catalogue.item(item).collection as usize].pick(rng);
        }
        self.pick(catalogue, rng)
    }
}

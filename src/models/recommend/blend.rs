//! Sums of recommenders.
//!
//! score(u, i) = Σ_m weight_m · s_m(u, i) / r_m(u), where s_m is what component m gives and r_m(u) the root mean square of that over the items that the user
//! does not have: models of any scale add up, and a component that has nothing to say about a user is silent. (Subtracting the mean as a z-score does
//! would change no order, but lift items above 0 that nothing speaks for.)

use std::sync::Arc;

use super::{Feedback, History, Recommender, Scores, Shares};
use crate::models::{Allowed, AnyRecommender, Column, Make, ModelError, ModelType, OptionSpec, Options, Part, part};

/// `model_type = 'blend'`.
pub static BLEND: ModelType = ModelType {
    name: "blend",
    about: "the weighted sum of other recommenders",
    options: &[OptionSpec {
        name: "components",
        default: "0.7 seq_knn() + 0.3 item_knn()",
        allowed: Allowed::Text,
        about: "weights, model types and their options: '0.7 seq_knn(decay = 0.6) + 0.3 ease(l2 = 250)'",
    }],
    in_auto: false,
    baseline: false,
    make: Make::Recommender {
        fit: |feedback, options, control| {
            let mut components = vec![];
            for (weight, options) in parse(options.get("components"), options.get("seed"))? {
                components.push(Component { kind: options.kind, weight, model: super::tune::fit(feedback, &options, control)? });
            }
            Ok(Arc::new(Blend::new(components)?))
        },
        read: |parts| Ok(Arc::new(Blend::from_parts(parts)?)),
    },
};

/// A recommender and how much it counts, above 0.
#[derive(Debug)]
pub struct Component {
    pub kind: &'static ModelType,
    pub weight: f64,
    pub model: AnyRecommender,
}

/// The components, the one of the largest weight first.
#[derive(Debug)]
pub struct Blend {
    components: Vec<Component>,
}

impl Blend {
    /// # Errors
    /// No component, or a weight that is not above 0.
    pub fn new(mut components: Vec<Component>) -> Result<Self, ModelError> {
        if components.is_empty() || components.iter().any(|c| !(c.weight > 0.0 && c.weight.is_finite())) {
            return Err(ModelError::Damaged("a blend needs components with weights above 0".into()));
        }
        components.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        Ok(Self { components })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let table = part(parts, "blend")?;
        let mut components = vec![];
        for (m, (name, &weight)) in table.text("model_type")?.iter().zip(table.finite("weight")?).enumerate() {
            let Some((kind, Make::Recommender { read, .. })) = ModelType::of(name).map(|kind| (kind, &kind.make)) else {
                return Err(ModelError::Damaged(format!("a blend of '{name}', which is no recommender")));
            };
            let own = |p: &Part| Some(Part { name: p.name.strip_prefix(&prefix(m))?.to_owned(), columns: p.columns.clone() });
            components.push(Component { kind, weight, model: read(&parts.iter().filter_map(own).collect::<Vec<_>>())? });
        }
        Self::new(components)
    }
}

/// What the names of the tables of component `m` begin with.
fn prefix(m: usize) -> String {
    format!("blend_{m}_")
}

/// 1 / the root mean square of scores over the items that are not in a history; 0 where there is none.
pub fn scale(said: &[f32], history: &[u32]) -> f64 {
    let square = |s: &f32| f64::from(*s) * f64::from(*s);
    let of_history: f64 = history.iter().filter_map(|&i| said.get(i as usize)).map(square).sum();
    let open = said.len().saturating_sub(history.len()).max(1) as f64;
    let mean = (said.iter().map(square).sum::<f64>() - of_history) / open;
    // What is left of a difference of equal sums is no score.
    if mean > 1e-12 * of_history / open && mean.is_finite() { 1.0 / mean.sqrt() } else { 0.0 }
}

impl Recommender for Blend {
    fn n_items(&self) -> usize {
        self.components.iter().map(|c| c.model.n_items()).max().unwrap_or(0)
    }

    fn score(&self, user: History<'_>, scores: &mut Scores) {
        let (mut inner, mut said) = (scores.inner.take().unwrap_or_default(), std::mem::take(&mut scores.said));
        let all = scores.all(self.n_items());
        for c in &self.components {
            inner.of(c.model.as_ref(), user, &mut said);
            let by = (c.weight * scale(&said, user.items)) as f32;
            all.iter_mut().zip(&said).for_each(|(sum, s)| *sum += by * s);
        }
        (scores.inner, scores.said) = (Some(inner), said);
    }

    fn attached(&self, current: &dyn Fn() -> Feedback) -> Result<Option<AnyRecommender>, ModelError> {
        let of = |c: &Component| {
            Ok(Component { kind: c.kind, weight: c.weight, model: c.model.attached(current)?.unwrap_or_else(|| Arc::clone(&c.model)) })
        };
        Ok(Some(Arc::new(Self { components: self.components.iter().map(of).collect::<Result<_, ModelError>>()? })))
    }

    fn shares(&self, user: History<'_>, item: u32) -> Shares {
        let (mut scores, mut said, mut out) = (Scores::default(), vec![], Shares::default());
        for c in &self.components {
            scores.of(c.model.as_ref(), user, &mut said);
            let by = (c.weight * scale(&said, user.items)) as f32;
            let Shares { baseline, of_items } = c.model.shares(user, item);
            out.baseline += by * baseline;
            out.of_items.extend(of_items.into_iter().map(|(i, share)| (i, by * share)));
        }
        out
    }

    /// The reason of the component of the largest weight that has one: found without scoring anew.
    fn because(&self, user: History<'_>, item: u32) -> Option<u32> {
        self.components.iter().find_map(|c| c.model.because(user, item))
    }

    fn to_parts(&self) -> Vec<Part> {
        let types = self.components.iter().map(|c| c.kind.name.to_owned()).collect();
        let weights = self.components.iter().map(|c| c.weight).collect();
        let mut parts = vec![Part::new("blend", vec![("model_type", Column::Text(types)), ("weight", Column::F64(weights))])];
        for (m, c) in self.components.iter().enumerate() {
            let own = c.model.to_parts().into_iter();
            parts.extend(own.map(|p| Part { name: prefix(m) + &p.name, columns: p.columns }));
        }
        parts
    }
}

/// Weights and options of `'0.7 seq_knn(decay = 0.6) + 0.3 ease(l2 = 250)'`; components have the seed of the blend.
fn parse(text: &str, seed: &str) -> Result<Vec<(f64, Options)>, ModelError> {
    let wrong = |given: &str, why: String| ModelError::Option {
        option: "components".into(),
        given: format!("'{given}'"),
        allowed: format!("{why}; such as '0.7 seq_knn(decay = 0.6) + 0.3 ease(l2 = 250)'"),
    };
    let one = |term: &str| {
        let term = term.trim();
        let (weight, rest) = term.split_once(char::is_whitespace).ok_or_else(|| wrong(term, "a weight and a model type".into()))?;
        let weight = weight.parse::<f64>().ok().filter(|w| *w > 0.0 && w.is_finite());
        let weight = weight.ok_or_else(|| wrong(term, "a weight above 0 before the model type".into()))?;
        let (name, given) = rest.trim().split_once('(').unwrap_or((rest.trim(), ")"));
        let kind = ModelType::of(name.trim()).filter(|k| matches!(k.make, Make::Recommender { .. }) && k.name != BLEND.name);
        let kind = kind.ok_or_else(|| wrong(term, format!("'{name}' is no recommender that can be blended")))?;
        let given = given.strip_suffix(')').ok_or_else(|| wrong(term, "')' after the options".into()))?;
        let pairs: Option<Vec<(String, String)>> = given
            .split(',')
            .filter(|pair| !pair.trim().is_empty())
            .map(|pair| pair.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())))
            .collect();
        let mut pairs = pairs.ok_or_else(|| wrong(term, "options as name = value".into()))?;
        pairs.push(("seed".into(), seed.into()));
        Ok((weight, Options::new(kind, &pairs).map_err(|e| wrong(term, e))?))
    };
    text.split(" + ").map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Control;
    use crate::models::recommend::check;

    fn blend(f: &Feedback, components: &str) -> Result<AnyRecommender, ModelError> {
        let options = Options::new(&BLEND, &[("components".into(), components.into())]).unwrap();
        super::super::tune::fit(f, &options, &Control::default())
    }

    #[test]
    fn lists_keep_the_guarantees() {
        for components in ["0.7 seq_knn() + 0.3 item_knn()", "0.2 popularity + 0.5 ease(l2 = 10) + 0.3 seq_knn(window = 2, decay = 0.5)"] {
            check::guarantees(&|f| blend(f, components), &BLEND.make);
        }
    }

    /// The sum of the components' own scores, each over its root mean square outside the history.
    #[test]
    fn scores_are_the_weighted_sum_of_scaled_scores() {
        let f = check::random(3, 30, 12);
        let both = blend(&f, "3 item_knn + 2 ease(l2 = 5)").unwrap();
        let each = ["1 item_knn", "1 ease(l2 = 5)"].map(|c| blend(&f, c).unwrap());
        let scores = &mut Scores::default();
        for u in 0..30 {
            let mut said = [vec![], vec![], vec![]];
            let models = each.iter().chain([&both]);
            said.iter_mut().zip(models).for_each(|(s, m)| scores.of(m.as_ref(), f.history(u), s));
            for (sum, (a, b)) in said[2].iter().zip(said[0].iter().zip(&said[1])) {
                assert!((sum - (3.0 * a + 2.0 * b)).abs() < 1e-4);
            }
            if f.history(u).items.is_empty() {
                continue; // The autoencoder has nothing to say.
            }
            let open = |s: &f32| f64::from(*s).powi(2);
            let outside = (0..12u32).filter(|i| !f.history(u).items.contains(i));
            let squares: Vec<f64> = outside.map(|i| open(&said[1][i as usize])).collect();
            assert!((squares.iter().sum::<f64>() / squares.len() as f64 - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn what_cannot_be_blended_is_named() {
        let f = check::random(3, 5, 5);
        for (components, says) in [
            ("0.5", "a weight and a model type"),
            ("-1 ease()", "above 0"),
            ("1 bg_nbd()", "'bg_nbd' is no recommender"),
            ("1 blend()", "'blend' is no recommender"),
            ("1 ease(l2)", "name = value"),
            ("1 ease(l3 = 2)", "l2"),
            ("1 ease(l2 = 2", "')'"),
        ] {
            let e = blend(&f, components).unwrap_err().to_string();
            assert!(e.contains(says), "{components}: {e}");
        }
    }
}

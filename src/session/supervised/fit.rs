//! A model of a label: its type chosen, fitted, calibrated, evaluated.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::calibration::{Fitter, Trained};
use super::data::{Data, Labelled};
use super::figures::metric;
use super::line::check;
use super::tournament::said;
use crate::models::supervised::{Calibration, Definition, Importance, Matrix, Reference, Scored, Supervised, suspicious_columns};
use crate::models::{Control, ModelError, Options};
use crate::session::families::Outcome;
use crate::store::Trial;

impl Data {
    /// The cut-offs, as training_log shows them.
    pub(super) fn cut_offs(&self, evaluated: bool) -> Vec<Trial> {
        let one = |(k, p): (usize, &Labelled)| Trial {
            model_type: if k == 0 && evaluated { "evaluation cut-off".into() } else { "training cut-off".into() },
            options: None,
            fold: k as u32 + 1,
            eval_from_us: p.from_us,
            eval_to_us: p.to_us,
            users: p.y.len() as u64,
            metric: "label_mean".into(),
            value: Some(p.mean()),
            baseline_value: None,
            rmse: None,
            bias_pct: None,
            seconds: 0.0,
            chosen: false,
            problem: None,
        };
        if matches!(self.definition, Definition::Window { .. }) { self.parts.iter().enumerate().map(one).collect() } else { vec![] }
    }

    /// Fits, calibrates, evaluates.
    pub(super) fn fit(mut self, candidates: &[Options], control: &Control) -> Result<(Options, Outcome), ModelError> {
        let mut out = Outcome { metric: Some(metric(self.task)), warnings: std::mem::take(&mut self.warnings), ..Outcome::default() };
        out.users = {
            let mut keys: Vec<u64> = self.parts.iter().flat_map(|p| p.keys.iter().copied()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.len() as u64
        };
        for options in candidates {
            check(options, self.task)?;
        }
        let (chosen, mut trials) = if candidates.len() > 1 { self.tournament(candidates, control)? } else { (0, vec![]) };
        let options = &candidates[chosen];
        out.warnings.extend(said(&trials));
        let evaluates = !options.is("split", "none");
        trials.extend(self.cut_offs(evaluates && self.parts.len() > 1));
        out.trials = trials;
        control.report("fitting", 0.1);
        let fitter = Fitter::new(&self, options, control);
        let all: Vec<usize> = (0..self.parts.len()).collect();
        let (mut holdout, mut importance) = (Scored::default(), vec![]);
        if self.parts.len() > 1 && evaluates {
            let judged = &self.parts[0];
            let before = self.known_at(judged.from_us, &all);
            let fitted = fitter.fit(&before)?;
            let fitted: &Trained = &fitted;
            let (calibrated, _) = fitter.calibration(&before, judged.from_us)?;
            let x = fitted.encoder.matrix(&judged.table);
            let link = fitted.predictor.link();
            let predict = |x: &Matrix| -> Result<Vec<f64>, ModelError> {
                Ok(fitted.predictor.scores(x, control)?.into_iter().map(|s| calibrated.prediction(link, s)).collect())
            };
            let predictions = predict(&x)?;
            let trained: Vec<f64> = before.iter().flat_map(|&p| self.parts[p].y.iter().copied()).collect();
            self.score(&predictions, judged, &trained, &mut out);
            control.report("importance of features", 0.5);
            let loss = |x: &Matrix, rows: &[usize]| -> Result<f64, ModelError> {
                Ok(self.loss(&predict(x)?, &rows.iter().map(|&r| judged.y[r]).collect::<Vec<_>>()))
            };
            let names: Vec<String> = fitted.encoder.features.iter().map(|f| f.name.clone()).collect();
            let own = fitted.predictor.importance();
            importance = Importance::measure(&names, &fitted.encoder.owners(), &own, &x, options.whole("seed"), &loss, control)?;
            holdout = sorted(Scored { key: judged.keys.clone(), prediction: predictions, label: judged.y.clone() });
            if self.is_window() {
                out.eval_from_us = Some(judged.from_us);
            }
        }
        control.report("fitting", 0.8);
        let (calibration, said) = fitter.calibration(&all, self.as_of_us)?;
        out.warnings.extend(said);
        match calibration {
            Calibration::Linear { slope: 0.0, .. } => out.warnings.push(
                "predict = 'median': the median is 0, or another constant, for everybody, and predictions differ by next to nothing. predict = 'mean' tells customers apart"
                    .into(),
            ),
            Calibration::None if options.is("calibrate", "seasonal") => {
                out.warnings.push("calibrate = 'seasonal' did nothing: no window a year ago is known".into());
            }
            _ => {}
        }
        if let Definition::Window { days, .. } = &self.definition {
            out.horizon_days = Some(f64::from(*days));
        }
        let kept = fitter.fit(&all)?;
        let columns = kept.encoder.columns();
        // Window by window: what knows one of them is hidden among the others.
        let leaks = self.parts.iter().flat_map(|p| suspicious_columns(&kept.encoder.matrix(&p.table), &p.y));
        let leaks: BTreeMap<usize, f64> = leaks.collect();
        for (column, auc) in leaks {
            out.warnings.push(format!(
                "leak? {} alone foretells the label nearly perfectly ({auc:.4}): does it know the future? Leave it out if it does",
                columns[column]
            ));
        }
        if !kept.left_out.is_empty() {
            let named: Vec<String> = kept.left_out.iter().map(|(name, why)| format!("{name} ({why})")).collect();
            out.warnings.push(format!("left out: {}", named.join(", ")));
        }
        // Of the model that is kept, in the order of its features.
        let own = kept.predictor.importance();
        let owners = kept.encoder.owners();
        let of_feature = |feature: usize| -> f64 { owners.iter().zip(&own).filter(|(o, _)| **o == feature).map(|(_, g)| g).sum() };
        let importance = kept.encoder.features.iter().enumerate().map(|(at, f)| {
            let measured = importance.iter().find(|i| i.feature == f.name).cloned().unwrap_or_default();
            Importance { feature: f.name.clone(), gain: of_feature(at), ..measured }
        });
        out.parameters = kept.predictor.parameters(&columns);
        let importance: Vec<Importance> = importance.collect();
        drop(fitter);
        let Some(kept) = Rc::into_inner(kept) else { return Err(ModelError::Damaged("a fit is in use".into())) };
        let model = Supervised {
            importance,
            reference: Reference::of(&kept.encoder, &self.parts[0].table),
            definition: self.definition,
            task: self.task,
            classes: self.classes,
            sql: self.sql,
            encoder: kept.encoder,
            predictor: kept.predictor,
            calibration,
            btyd: self.btyd,
            holdout,
        };
        out.parts = model.to_parts();
        Ok((options.clone(), out))
    }
}

fn sorted(s: Scored) -> Scored {
    let mut order: Vec<usize> = (0..s.key.len()).collect();
    order.sort_by(|&a, &b| {
        s.prediction[a].total_cmp(&s.prediction[b]).then(s.key[a].cmp(&s.key[b])).then(s.label[a].total_cmp(&s.label[b]))
    });
    Scored {
        key: order.iter().map(|&i| s.key[i]).collect(),
        prediction: order.iter().map(|&i| s.prediction[i]).collect(),
        label: order.iter().map(|&i| s.label[i]).collect(),
    }
}

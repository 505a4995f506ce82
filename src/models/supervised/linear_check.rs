//! What must hold of every linear model, and a small table to compare with scikit-learn.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Matrix, Predictor, Task, Training};
use crate::models::{AnyPredictor, Control, Make, ModelError, ModelType, Options, Part};

pub fn fitted(kind: &'static ModelType, x: &Matrix, y: &[f64], task: Task, given: &[(&str, &str)]) -> Result<AnyPredictor, ModelError> {
    let given: Vec<(String, String)> = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let Make::Supervised { fit, .. } = kind.make else { panic!("not supervised") };
    fit(Training { x, y, task, levels: &[], forecast: None }, &Options::new(kind, &given).unwrap(), &Control::default())
}

/// Sixty rows: three columns, the last with gaps; a class; a number; a number that is often 0.
pub fn table() -> (Matrix, Vec<f64>, Vec<f64>, Vec<f64>) {
    let of = |f: fn(f64) -> f64| -> Vec<f64> { (0..60).map(|i| f(f64::from(i))).collect() };
    let columns =
        vec![of(|i| 2.0 * i.sin()), of(|i| (1.7 * i).cos() + i / 20.0), of(|i| if i % 6.0 == 2.0 { f64::NAN } else { (i * 7.0) % 5.0 })];
    let class = of(|i| if i.sin() + (3.1 * i).cos() + 0.3 * (2.3 * i).sin() > 0.2 { 1.0 } else { 0.0 });
    let number = (0..60).map(|i| {
        let gap = if columns[2][i].is_nan() { 1.0 } else { 0.0 };
        3.0 + columns[0][i] - 0.5 * columns[1][i] + (5.3 * i as f64).sin() + gap
    });
    let number = number.collect();
    let often_0 = of(|i| if (2.9 * i).cos() + i.sin() > 0.3 { (0.8 * i.sin() + (4.1 * i).cos()).exp() } else { 0.0 });
    (Matrix { rows: 60, columns }, class, number, often_0)
}

pub fn close(given: &[(String, f64)], expected: &[f64], within: f64) {
    assert_eq!(given.len(), expected.len());
    for ((name, a), b) in given.iter().zip(expected) {
        assert!((a - b).abs() < within, "{name}: {a} against {b}");
    }
}

fn scores(model: &dyn Predictor, x: &Matrix) -> Vec<f64> {
    model.scores(x, &Control::default()).unwrap()
}

/// Contributions add up; shares add up; the same for any number of threads and after the store; finite whatever comes in; errors, not
/// panics, for what cannot be fitted.
pub fn guarantees(kind: &'static ModelType, task: Task) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let n = 9_000;
    let mut column = |f: fn(f64) -> f64| -> Vec<f64> { (0..n).map(|_| f(rng.random::<f64>())).collect() };
    let columns = vec![
        column(|u| (6.0 * u).exp()),
        column(|u| f64::from(u8::from(u < 0.3))),
        column(|u| if u < 0.2 { f64::NAN } else { u - 0.5 }),
        column(|_| 4.0),
        column(|_| f64::NAN),
        column(|u| if u < 0.001 { 1e300 } else { u }),
    ];
    let noise = column(|u| u);
    let label = |i: usize| columns[0][i].ln() / 6.0 + columns[1][i] + noise[i] - 1.1;
    let y: Vec<f64> =
        (0..n).map(|i| if task == Task::Classification { f64::from(u8::from(label(i) > 0.0)) } else { label(i).max(0.0) }).collect();
    let x = Matrix { rows: n, columns };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fitted(kind, &x, &y, task, &[]).unwrap())
    };
    let model = on(1);
    let parts = model.to_parts();
    assert_eq!(on(3).to_parts(), parts);
    let Make::Supervised { read, .. } = kind.make else { panic!("not supervised") };
    let stored = read(&parts).unwrap();
    assert_eq!((stored.to_parts(), scores(stored.as_ref(), &x)), (parts.clone(), scores(model.as_ref(), &x)));
    damage(&parts, &|parts| {
        read(parts).map(|m| scores(m.as_ref(), &x)).ok();
    });
    assert!(read(&[]).is_err());
    assert!(model.scores(&Matrix { rows: 1, columns: vec![vec![1.0]] }, &Control::default()).is_err());

    let mut wild = x.take(&(0..600).collect::<Vec<_>>());
    for (j, c) in wild.columns.iter_mut().enumerate() {
        c.iter_mut().enumerate().for_each(|(i, v)| *v = [*v, *v, 1e300, -1e300, f64::NAN, 0.0, -5.0][(i + i / 7 * j) % 7]);
    }
    for x in [&x, &wild] {
        let (all, made_of) = (scores(model.as_ref(), x), model.contributions(x, &Control::default()).unwrap());
        for (row, s) in made_of.values.chunks(made_of.width).zip(&all) {
            let sum = made_of.baseline + row.iter().sum::<f64>();
            let size = row.iter().fold(s.abs(), |m, c| m.max(c.abs()));
            assert!(s.is_finite() && (sum - s).abs() <= 1e-9 * size.max(1e-3), "{sum} is not {s}");
            assert_eq!(row[3], 0.0);
        }
    }
    let importance = model.importance();
    assert!((importance.iter().sum::<f64>() - 1.0).abs() < 1e-12 && importance.iter().all(|v| *v >= 0.0));
    assert!(importance[0] > importance[2] && importance[3..5] == [0.0, 0.0]);
    let names: Vec<String> = (0..6).map(|j| format!("c{j}")).collect();
    assert!(model.parameters(&names).iter().all(|(_, v)| v.is_finite()));

    let odd = [
        Matrix::default(),
        Matrix { rows: 4, columns: vec![] },
        Matrix { rows: 1, columns: vec![vec![3.0]] },
        Matrix { rows: 4, columns: vec![vec![1e300, -1e300, 1e300, 1e-300], vec![f64::NAN; 4]] },
        Matrix { rows: 4, columns: vec![vec![0.0, 1e-200, 2e-200, 3e-200]] },
    ];
    for x in &odd {
        for y in [[0.0, 1.0, 1.0, 0.0], [0.0; 4], [1.0; 4], [0.0, 1e300, 2.0, 1e-300]] {
            let y = &y[..x.rows];
            if task == Task::Classification && y.iter().any(|y| *y != 0.0 && *y != 1.0) {
                continue;
            }
            if let Ok(model) = fitted(kind, x, y, task, &[]) {
                assert!(scores(model.as_ref(), x).iter().all(|s| s.is_finite()), "{x:?} {y:?}");
                assert!(model.contributions(x, &Control::default()).unwrap().values.iter().all(|s| s.is_finite()));
                assert!(model.importance().iter().all(|s| s.is_finite()));
            }
        }
    }
    let other = if task == Task::Classification { Task::Regression } else { Task::Classification };
    let e = fitted(kind, &x, &y, other, &[]).unwrap_err().to_string();
    assert!(e.contains(if task == Task::Classification { "linear_reg" } else { "logistic_reg" }), "{e}");
}

/// Reads parts of which each column in turn is cut short, or has its first value changed.
fn damage(parts: &[Part], read: &dyn Fn(&[Part])) {
    use crate::models::Column;
    for (i, part) in parts.iter().enumerate() {
        for j in 0..part.columns.len() {
            let mut cut = parts.to_vec();
            match &mut cut[i].columns[j].1 {
                Column::F64(v) => v.truncate(v.len().saturating_sub(1)),
                Column::U32(v) => v.iter_mut().for_each(|v| *v += 1_000),
                Column::U64(v) => v.iter_mut().for_each(|v| *v = u64::MAX),
                Column::Text(v) => v.iter_mut().for_each(|v| v.push('?')),
                Column::F32(_) => {}
            }
            read(&cut);
            for bad in [f64::NAN, -1.0, 0.0] {
                if let Column::F64(v) = &mut cut[i].columns[j].1 {
                    *v = vec![bad; v.len() + 1];
                    read(&cut);
                }
            }
        }
    }
}

//! Benches of models of labels: `cargo bench --bench labels`. Peers are run on the same rows, see docs/performance.md.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Float64Type;
use tenure::models::supervised::{GBT, LOGISTIC_REG, Matrix, Task, Training};
use tenure::models::{AnyPredictor, Control, Make, ModelType, Options};
use tenure::{Session, SessionOptions};
use tokio::runtime::Runtime;

/// Rows with a 0/1 label: those of the Parquet file `TENURE_BENCH_ROWS` (Float64 columns, the label last), or else 50,000 of 20 columns made here.
fn rows() -> (Matrix, Vec<f64>) {
    let Ok(path) = std::env::var("TENURE_BENCH_ROWS") else {
        let n = 50_000u64;
        let unit =
            |i: u64, j: u64| ((i + 1).wrapping_mul(2 * j + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64;
        let columns: Vec<Vec<f64>> = (0..20).map(|j| (0..n).map(|i| unit(i, j)).collect()).collect();
        let odds = |i: usize| columns[0][i] + columns[1][i] * columns[2][i] - columns[3][i].powi(2) + columns[4][i] - 0.5;
        let y = (0..n as usize).map(|i| f64::from(u8::from(odds(i) > unit(i as u64, 77)))).collect();
        return (Matrix { rows: n as usize, columns }, y);
    };
    let runtime = Runtime::new().expect("a runtime");
    let session = runtime.block_on(Session::open(SessionOptions::default())).expect("a session");
    let run = |sql: &str| runtime.block_on(async { session.sql(sql).await?.collect().await }).expect("rows");
    run(&format!("CREATE EXTERNAL TABLE bench_rows STORED AS PARQUET LOCATION '{path}'"));
    let batches = run("SELECT * FROM bench_rows");
    let column =
        |i: usize| batches.iter().flat_map(|b| b.column(i).as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(f64::NAN))).collect();
    let width = batches[0].num_columns() - 1;
    let y: Vec<f64> = column(width);
    (Matrix { rows: y.len(), columns: (0..width).map(column).collect() }, y)
}

fn labels(c: &mut Criterion) {
    let (x, y) = rows();
    let fit = |kind: &'static ModelType| -> AnyPredictor {
        let Make::Supervised { fit, .. } = kind.make else { unreachable!("a model of a label") };
        let training = Training { x: &x, y: &y, task: Task::Classification, levels: &[], forecast: None };
        fit(training, &Options::new(kind, &[]).expect("options"), &Control::default()).expect("a fit")
    };
    let mut group = c.benchmark_group("labels");
    group.throughput(Throughput::Elements(x.rows as u64)).sample_size(10);
    for kind in [&LOGISTIC_REG, &GBT] {
        group.bench_function(format!("fit {}", kind.name), |b| b.iter(|| fit(kind)));
        let model = fit(kind);
        group.bench_function(format!("score {}", kind.name), |b| b.iter(|| model.scores(&x, &Control::default()).expect("scores")));
        let some = x.take(&(0..x.rows.min(50_000)).collect::<Vec<_>>());
        group.throughput(Throughput::Elements(some.rows as u64));
        group.bench_function(format!("explain {}", kind.name), |b| {
            b.iter(|| model.contributions(&some, &Control::default()).expect("contributions"));
        });
        group.throughput(Throughput::Elements(x.rows as u64));
    }
    group.finish();
}

criterion_group!(benches, labels);
criterion_main!(benches);

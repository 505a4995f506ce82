//! A session of one's own: events from the simulator, value and churn by segment.

use tenure::{Session, SessionOptions};

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let session = Session::open(SessionOptions::default()).await?;
    session.sql("CREATE VIEW events AS SELECT * FROM simulate_shop(users => 1000, days => 300, seed => 1)").await?;
    let report = "SELECT segment, count(*) AS customers, round(sum(clv), 2) AS clv, round(avg(churn_prob), 3) AS churn \
                  FROM customers() GROUP BY segment ORDER BY clv DESC NULLS LAST";
    session.sql(report).await?.show().await
}

//! A program that has a DataFusion context already: tenure is put into it.

use datafusion::prelude::{SessionContext, col};

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let ctx = SessionContext::new();
    tenure::install(&ctx)?;
    ctx.sql("CREATE TABLE events AS SELECT * FROM simulate_shop(users => 1000, days => 300, seed => 1)").await?.collect().await?;
    ctx.sql("SELECT user_id, clv(user_id) AS clv FROM customers() ORDER BY clv DESC NULLS LAST LIMIT 3").await?.show().await?;

    // The DataFrame API: functions are those of the context.
    let churn_prob = ctx.state().scalar_functions()["churn_prob"].clone();
    let users = ctx.table("events").await?.select(vec![col("user_id")])?.distinct()?;
    let users = users.select(vec![col("user_id"), churn_prob.call(vec![col("user_id")]).alias("churn")])?;
    users.sort(vec![col("churn").sort(false, false), col("user_id").sort(true, false)])?.limit(0, Some(3))?.show().await
}

//! `similar_users(user, k)`: customers who have had the same items.

use super::common::{USER, list_type};
use super::prelude::*;
use super::similar_items::{Alike, K, METHOD, METRIC, Of, fields, likeness};

#[derive(Debug)]
pub struct SimilarUsers;

static SPEC: FunctionSpec = FunctionSpec {
    name: "similar_users",
    section: "Recommendation",
    form: Form::ScalarAndTable,
    arguments: &[USER, K, METRIC],
    returns: "List<Struct{id, rank, similarity, support}>",
    unit: "similarity: from 0 to 1",
    columns: &[
        ("user_id", "of the first argument", "the customer"),
        ("id", "as in events", "the customer like them"),
        ("rank", "Int64", "1 = most alike"),
        ("similarity", "Float64", "from 0 to 1"),
        ("support", "Int64", "items that both have had"),
    ],
    summary: "The customers most like a customer, by the items that both have had.",
    behaviour: &[
        "To have had an item is to have bought or rated it; in a log without purchases and ratings, to have viewed it or put it into a cart.",
        "No model: the answer is that of the events. Ties go to the smaller key; a customer who shares nothing is not like them.",
    ],
    nulls: "NULL, and a user who is not in `events` → NULL, and no row in FROM. A user without items → an empty list.",
    method: METHOD,
    source: "",
    limits: "",
    example: "SELECT id, rank, round(similarity, 3) AS similarity, support FROM similar_users('u0000007', 3)",
};

#[async_trait]
impl CustomerFunction for SimilarUsers {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, types: &dyn KeyTypes) -> DataType {
        list_type(fields(types.user_type()))
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let (interactions, customers) = (pin.interactions().await?, pin.customers().await?);
        let names = Arc::clone(&customers.keys.array);
        Alike { of: Of::Users, interactions, names, likeness: likeness(args)?, k: args.whole("k", 10) as usize }.kernel().await
    }
}

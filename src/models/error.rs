//! What can go wrong in a fit or a prediction.

/// Messages are lower case and say what was given, what is allowed, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    #[error("cancelled")]
    Cancelled,
    /// The data cannot carry this model; the text says what is needed and what there is.
    #[error("{0}")]
    TooLittleData(String),
    /// A hyper-parameter out of range.
    #[error("option '{option}' = {given}: {allowed}")]
    Option { option: String, given: String, allowed: String },
    /// The optimiser stopped before it reached a maximum.
    #[error("{model} did not converge: {detail}")]
    NotConverged { model: &'static str, detail: String },
    /// A stored model that cannot be read back.
    #[error("damaged model: {0}")]
    Damaged(String),
}

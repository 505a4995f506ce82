//! The options that every supervised model takes.

use crate::models::{Allowed, OptionSpec};

/// See each one's `about`.
pub static OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "split",
        default: "auto",
        allowed: Allowed::OneOf(&["auto", "time", "user", "random", "none"]),
        about: "what is held out to score the model: with PREDICT the last window ('time'), or a share of the customers ('user', 'random'); with TARGET the latest rows \
                where the query has a timestamp, or else a share of the rows (of the users, where it has a user_id); 'none' does not score",
    },
    OptionSpec {
        name: "test_fraction",
        default: "0.2",
        allowed: Allowed::Number { least: 0.01, most: 0.9 },
        about: "share of the rows or users that is held out, where it is not a window",
    },
    OptionSpec {
        name: "cutoffs",
        default: "4",
        allowed: Allowed::Whole { least: 1, most: 50 },
        about: "PREDICT: most moments whose features and following windows are learned from, besides the one that is held out",
    },
    OptionSpec {
        name: "step",
        default: "0 days",
        allowed: Allowed::Days { least: 0.0, most: 3650.0 },
        about: "PREDICT: days from one cut-off to the one before; 0: the length of the window, so that windows do not overlap",
    },
    OptionSpec {
        name: "calibrate",
        default: "auto",
        allowed: Allowed::OneOf(&["auto", "none", "seasonal", "platt", "isotonic"]),
        about: "how predictions are put right on rows that the model was not fitted to. Probabilities: 'platt' and 'isotonic' on the latest window, 'seasonal' shifts the log-odds to what \
                came in the same window a year ago (of churn: to what BG/NBD says now, shifted by what it should have said then); 'auto' takes what was best a window earlier, \
                and 'seasonal' of churn where half a year of the log lies before that window and its log-odds are moved by more than 0.2. \
                Numbers: 'seasonal' multiplies them by what came in the same window a year ago over what was foretold of it (of what is spent, by BG/NBD and gamma-gamma); 'auto' does \
                where that is of spend, differs by two standard errors, and has half a year of the log before it",
    },
    OptionSpec {
        name: "predict",
        default: "mean",
        allowed: Allowed::OneOf(&["mean", "median"]),
        about: "of a number: 'mean' has the right total, 'median' the least absolute error, and is about 0 wherever 0 is likelier than not",
    },
    OptionSpec {
        name: "max_rows",
        default: "1000000",
        allowed: Allowed::Whole { least: 100, most: 1_000_000_000 },
        about: "rows to learn from; of more, every n-th customer or row is taken",
    },
    OptionSpec { name: "seed", default: "42", allowed: Allowed::Whole { least: 0, most: u64::MAX }, about: "seed of random choices" },
    OptionSpec { name: "comment", default: "", allowed: Allowed::Text, about: "kept with the model" },
];

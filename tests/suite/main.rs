//! The one integration test binary: each test program would link the engine anew.

mod architecture;
mod btyd;
mod data;
mod engine;
mod functions;
mod labels;
mod shell;
mod slt;
mod store;
mod truth;

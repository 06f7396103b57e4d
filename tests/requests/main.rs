//! Requests as nobody should send them, in process: through the real layers and routes of both roles, with a real engine
//! behind them and no socket in front. `bad_input` holds that every field's rule is kept and its path named; `fuzz` that
//! nothing else that comes in does any harm.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what goes wrong in a test is to be seen")]

mod answer;
mod bad_input;
mod bed;
mod chance;
mod fuzz;
mod mutate;
mod rules;
mod sample;
mod undecodable;

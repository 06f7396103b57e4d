//! workplane as its users have it: real binaries, real programs, real sockets. One file for each capability.
//!
//! A test of chance prints its seed; `WORKPLANE_SEED` repeats it. A test that needs a program which is not on this
//! machine is left out and says so, unless `WORKPLANE_REQUIRE_PROGRAMS` is set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]

mod acp;
mod after_a_kill;
mod approvals;
mod authentication;
mod bad_usage;
mod broken_answers;
mod bundles;
mod canaries;
mod certificates;
mod chat;
mod command_line;
mod configuration;
mod conversation;
mod deletion;
mod doctor;
mod drain;
mod durability;
mod explain;
mod foreign_agents;
mod hostile_hosts;
mod hosts;
mod lifecycle;
mod logs;
mod many_hosts;
mod metrics;
mod observation;
mod processes;
mod reflection;
mod repeats;
mod resumption;
mod seed;
mod sharing;
mod situations;
mod store;
mod support;
mod tls;
mod token_exchange;
mod traces;
mod traps;

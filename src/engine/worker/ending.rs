//! Why a worker ended, from who asked for it and what became of its program.

use super::{Ending, StopWish};
use crate::engine::driver::Exit;
use crate::model::TerminationReason;

/// The cause of death.
pub(super) fn reason(exit: &Exit, stop: Option<&StopWish>) -> TerminationReason {
    match stop {
        _ if exit.lost => TerminationReason::RuntimeLost,
        _ if exit.unheard => TerminationReason::ProtocolError,
        Some(wish) => match wish.ending {
            Ending::Stopped => TerminationReason::Stopped,
            Ending::Cancelled => TerminationReason::Cancelled,
            Ending::Drained => TerminationReason::Drained,
        },
        None if exit.refused => TerminationReason::StartFailed,
        None if exit.broken.is_some() => TerminationReason::ProtocolError,
        None if exit.signal.is_some() => TerminationReason::Killed,
        None => TerminationReason::Exited,
    }
}

/// The cause of death in words: who asked and why, or what the program left behind, and what it was at.
pub(super) fn message(exit: &Exit, stop: Option<&StopWish>) -> String {
    let cause = cause(exit, stop);
    match &exit.doing {
        Some(doing) if stop.is_none() && !exit.lost => format!("{cause}; {doing}"),
        _ => cause,
    }
}

fn cause(exit: &Exit, stop: Option<&StopWish>) -> String {
    match (stop, exit.code, exit.signal) {
        _ if exit.lost => "the runtime went away while the worker ran".to_owned(),
        _ if exit.unheard => "what the program wrote could not be read to the end".to_owned(),
        (Some(wish), ..) => wish.message.clone(),
        _ if exit.refused => "the program could not be executed".to_owned(),
        _ if exit.broken.is_some() => exit.broken.clone().unwrap_or_default(),
        _ if !exit.stderr.is_empty() => exit.stderr.clone(),
        (None, Some(code), _) => format!("the program exited with code {code}"),
        (None, None, Some(signal)) => format!("the program was killed by signal {signal}"),
        (None, None, None) => "the program is gone, and the system does not say how it ended".to_owned(),
    }
}

//! `workplane demo`: a control plane of its own in this process, and a conversation with it over gRPC.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::control::Control;
use super::plane::ControlPlane;
use crate::cli::Failure;
use crate::cli::demo::{PROFILE, converse};
use crate::config::{EMBEDDED_RUNTIME, EmbeddedConfig, ServeConfig, ServeFlags};
use crate::engine::{EngineLimits, InputForm, Permissions, Profile, Profiles, Protocol, Restart};
use crate::model::{ProfileSelector, RuntimeId};

/// How long what was typed last may take, once the input has ended.
const LAST_COMMAND: Duration = Duration::from_mins(1);

/// Starts a control plane on a free port, and speaks to a worker of it until standard input ends.
///
/// # Errors
/// When either end of the conversation fails.
pub async fn demo() -> Result<(), Failure> {
    let runtime_id = RuntimeId::new(EMBEDDED_RUNTIME).map_err(|error| Failure::Other(error.to_string()))?;
    let mut config = ServeConfig::load(&ServeFlags::default(), &|_| None)?;
    // No balancer stands before it.
    config.server.drain_pause = Duration::ZERO;
    let limits = EngineLimits { stop_grace: LAST_COMMAND, ..EngineLimits::default() };
    config.embedded = Some(EmbeddedConfig { runtime_id, profiles: shell(), limits });
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr()?;
    let plane = ControlPlane::open(config).await?;
    let (drain, _configs, control) = Control::by_hand();
    let serving = tokio::spawn(plane.run(listener, control));
    let spoken = converse(address, EMBEDDED_RUNTIME, interrupts()).await;
    drain.cancel();
    let served = serving.await.map_err(|error| Failure::Other(error.to_string()))?;
    spoken.and(served.map_err(Failure::from))
}

/// A shell that reads commands, says on its standard output also what it says on the other, and does not end at a TERM:
/// the end of its input ends it, when it has done what it was told.
fn shell() -> Profiles {
    let command = ["sh", "-c", "trap '' TERM; exec sh 2>&1"].map(str::to_owned).to_vec();
    let profile = Profile {
        protocol: Protocol::Lines,
        command,
        input: InputForm::Text,
        cwd: None,
        env: BTreeMap::new(),
        restart: Restart::Never,
        permissions: Permissions::Deny,
        handshake_timeout: Profile::HANDSHAKE_TIMEOUT,
        approval_timeout: Profile::APPROVAL_TIMEOUT,
    };
    Profiles::from_iter([(ProfileSelector::Builtin(PROFILE.to_owned()), profile)])
}

/// Cancelled by the first Ctrl-C.
fn interrupts() -> CancellationToken {
    let interrupt = CancellationToken::new();
    let cancelled = interrupt.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancelled.cancel();
        }
    });
    interrupt
}

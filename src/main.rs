//! The binary: arguments, telemetry, configuration, run, exit code.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::TcpListener;
use workplane::app::{self, Control, ControlPlane, WorkerHost};
use workplane::cli::{Cli, Command, Failure};
use workplane::config::{LogConfig, RuntimeConfig, RuntimeFlags, ServeConfig, ServeFlags, process_environment};
use workplane::telemetry;

/// What one thread takes another gives back, at every step of a call: in the C library's allocator they wait for each
/// other (docs/measurements.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _failpoints = workplane::failpoint::from_environment();
    let outcome = match Cli::parse().command {
        Command::Serve(flags) => serve(*flags),
        Command::Runtime(flags) => runtime(*flags),
        Command::Demo => {
            let filter = process_environment("RUST_LOG").unwrap_or_else(|| "warn".to_owned());
            telemetry::init(&LogConfig { filter, ..LogConfig::default() });
            app::set_limits();
            block_on(app::demo())
        }
        Command::Doctor(command) => block_on(app::doctor(command)),
        Command::Store(command) => app::store(command),
        Command::Client(command) => block_on(command.run()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if code != 0 {
                // With standard error gone there is nobody left to tell.
                let _ = writeln!(std::io::stderr(), "workplane: {failure}");
            }
            ExitCode::from(code)
        }
    }
}

fn serve(flags: ServeFlags) -> Result<(), Failure> {
    let load = move || ServeConfig::load(&flags, &process_environment);
    let config = load()?;
    telemetry::init(&config.server.log);
    app::set_limits();
    block_on(async move {
        let control = Control::by_signals(load)?;
        let listener = listen(config.server.listen).await?;
        let Some(plane) = control.unless_drained(ControlPlane::open(config)).await.transpose()? else { return Ok(()) };
        announce(&listener)?;
        Ok(Box::pin(plane.run(listener, control)).await?)
    })
}

fn runtime(flags: RuntimeFlags) -> Result<(), Failure> {
    let load = move || RuntimeConfig::load(&flags, &process_environment);
    let config = load()?;
    telemetry::init(&config.server.log);
    app::set_limits();
    block_on(async move {
        let control = Control::by_signals(load)?;
        let listener = listen(config.server.listen).await?;
        let Some(host) = control.unless_drained(WorkerHost::open(config)).await.transpose()? else { return Ok(()) };
        announce(&listener)?;
        Ok(Box::pin(host.run(listener, control)).await?)
    })
}

fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(task);
    // A thread that reads standard input, or a program that does not end, holds nothing up.
    runtime.shutdown_background();
    outcome
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::Other(format!("cannot listen on {address}: {error}")))
}

/// The one line on standard output: it is ready to serve.
fn announce(listener: &TcpListener) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "listening on {}", listener.local_addr()?)?;
    Ok(output.flush()?)
}

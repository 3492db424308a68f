//! Signals as reasons to stop: the first is graceful, the second kills.

use shipline_engine::event::CancelReason;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::{CommandError, ErrorKind};

/// Listens to SIGINT, SIGTERM and SIGHUP from now on.
pub(crate) fn listen() -> Result<mpsc::UnboundedReceiver<CancelReason>, CommandError> {
    let on = |kind: SignalKind| {
        signal(kind).map_err(|error| {
            CommandError::new(ErrorKind::Bug, "signals cannot be heard").because(error)
        })
    };
    let (interrupt, terminate, hangup) = (
        on(SignalKind::interrupt())?,
        on(SignalKind::terminate())?,
        on(SignalKind::hangup())?,
    );
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(tell(interrupt, terminate, hangup, sender));
    Ok(receiver)
}

async fn tell(
    mut interrupt: Signal,
    mut terminate: Signal,
    mut hangup: Signal,
    sender: mpsc::UnboundedSender<CancelReason>,
) {
    let mut first = true;
    loop {
        let heard = tokio::select! {
            Some(()) = interrupt.recv() => CancelReason::Interrupt,
            Some(()) = terminate.recv() => CancelReason::Terminate,
            Some(()) = hangup.recv() => CancelReason::Terminate,
            else => return,
        };
        let reason = if first { heard } else { CancelReason::Kill };
        first = false;
        if sender.send(reason).is_err() {
            return;
        }
    }
}

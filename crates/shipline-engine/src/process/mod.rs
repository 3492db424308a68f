//! Child processes: commands run below a supervisor (our own program), so that nothing that they start outlives us.
//!
//! The supervisor is the parent of the command and holds one end of a socket whose other end only we hold. It starts the
//! command when it is told to, and kills it with everything that it started when it is told to or when the socket closes,
//! which it does however we end. On Linux it is a subreaper: what the command's children leave behind, even in sessions of
//! their own, becomes its child and is found.

mod lines;
mod run;
mod supervise;

pub use lines::{LINE_LIMIT, LineSplitter};
pub use run::{Ended, Exit, ShellCommand, Supervisor, quick};
pub use supervise::{refuse_inspection, supervise_if_asked};

/// The hidden first argument that makes our program a supervisor.
const SUPERVISE: &str = "__supervise";

/// Start the command.
const GO: u8 = b'g';
/// Ask everything to end (SIGTERM).
const TERMINATE: u8 = b't';
/// Kill everything (SIGKILL).
const KILL: u8 = b'k';

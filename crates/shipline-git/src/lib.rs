//! Shipline's source repository on git2: change sets, bases and the workspace.

//! Messages to the customers of Aurora Glam: `/api/v1/notifications`.

mod notifications;

use std::process::ExitCode;

use aurora_common::{Service, serve};

fn main() -> ExitCode {
    serve(service())
}

fn service() -> Service {
    Service {
        name: "notification-service",
        version: env!("CARGO_PKG_VERSION"),
        port: 8005,
        routes: notifications::routes(),
    }
}

//! Figures of Aurora Glam, by day: `/api/v1/reports`.

mod reports;

use std::process::ExitCode;

use aurora_common::{Service, serve};

fn main() -> ExitCode {
    serve(service())
}

fn service() -> Service {
    Service {
        name: "reports-analytics",
        version: env!("CARGO_PKG_VERSION"),
        port: 8006,
        routes: reports::routes(),
    }
}

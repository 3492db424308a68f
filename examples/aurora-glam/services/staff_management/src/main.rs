//! Who works at Aurora Glam: `/api/v1/staff`.

mod staff;

use std::process::ExitCode;

use aurora_common::{Service, serve};

fn main() -> ExitCode {
    serve(service())
}

fn service() -> Service {
    Service {
        name: "staff-management",
        version: env!("CARGO_PKG_VERSION"),
        port: 8004,
        routes: staff::routes(),
    }
}

//! What the salons of Aurora Glam offer: `/api/v1/services`.

mod services;

use std::process::ExitCode;

use aurora_common::{Service, serve};

fn main() -> ExitCode {
    serve(service())
}

fn service() -> Service {
    Service {
        name: "service-management",
        version: env!("CARGO_PKG_VERSION"),
        port: 8002,
        routes: services::routes(),
    }
}

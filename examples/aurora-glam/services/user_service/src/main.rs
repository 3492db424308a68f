//! Customers and staff accounts of Aurora Glam: `/api/v1/users`.

mod users;

use std::process::ExitCode;

use aurora_common::{Service, serve};

fn main() -> ExitCode {
    serve(service())
}

fn service() -> Service {
    Service {
        name: "user-service",
        version: env!("CARGO_PKG_VERSION"),
        port: 8001,
        routes: users::routes(),
    }
}

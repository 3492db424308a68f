//! `/_fake/…`: the in-process controls, for those who run the fake as a program.
//!
//! `POST /_fake/repositories` `{"name", "mutable"}` · `POST /_fake/advance` `{"seconds"}` · `POST /_fake/revoke-tokens` ·
//! `POST /_fake/status` `{"repository", "digest", "status"}` · `POST /_fake/faults` (a fault, see [`fault`]) ·
//! `POST /_fake/reset` · `GET /_fake/log`, `/_fake/tags`, `/_fake/broken`, `/_fake/token`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Shared;
use super::fault::{Effect, Fault, When};
use super::server::{Answer, Asked, plain};
use super::state::{ImageStatus, Mutability, ScanOnPush};

pub(super) fn answer(shared: &Shared, asked: &Asked) -> Answer {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let path = asked.path.trim_start_matches("/_fake/");
    let result = match (&asked.method, path) {
        (&Method::POST, "repositories") => {
            let mutability = if body["mutable"].as_bool() == Some(true) {
                Mutability::Mutable
            } else {
                Mutability::Immutable
            };
            body["name"].as_str().map(|name| {
                json!({ "created": shared.state().create(name, mutability, ScanOnPush::No) })
            })
        }
        (&Method::POST, "advance") => body["seconds"].as_i64().map(|seconds| {
            shared.state().advance(seconds);
            json!({})
        }),
        (&Method::POST, "revoke-tokens") => {
            shared.state().revoke_tokens();
            Some(json!({}))
        }
        (&Method::POST, "status") => status(&body).map(|(repository, digest, status)| {
            shared.state().set_status(repository, digest, status);
            json!({})
        }),
        (&Method::POST, "faults") => fault(&body).map(|fault| {
            shared.faults().arm(fault);
            json!({})
        }),
        (&Method::POST, "reset") => {
            shared.faults().reset();
            Some(json!({}))
        }
        (&Method::GET, "log") => Some(Value::Array(
            shared
                .faults()
                .log()
                .into_iter()
                .map(|entry| {
                    json!({
                        "number": entry.number,
                        "method": entry.method,
                        "target": entry.target,
                        "status": entry.status,
                    })
                })
                .collect(),
        )),
        (&Method::GET, "tags") => Some(json!(shared.state().all_tags())),
        (&Method::GET, "broken") => Some(json!(shared.state().broken())),
        (&Method::GET, "token") => Some(json!({ "password": shared.state().issue_token().0 })),
        _ => {
            return plain(
                StatusCode::NOT_FOUND,
                "text/plain",
                "no such control\n".into(),
            );
        }
    };
    match result {
        Some(body) => plain(StatusCode::OK, "application/json", body.to_string().into()),
        None => plain(
            StatusCode::BAD_REQUEST,
            "text/plain",
            "the body is not what this control takes\n".into(),
        ),
    }
}

fn status(body: &Value) -> Option<(&str, &str, ImageStatus)> {
    let status = match body["status"].as_str()? {
        "ACTIVE" => ImageStatus::Active,
        "ARCHIVED" => ImageStatus::Archived,
        "ACTIVATING" => ImageStatus::Activating,
        _ => return None,
    };
    Some((
        body["repository"].as_str()?,
        body["digest"].as_str()?,
        status,
    ))
}

/// `{"request": 3}`, `{"next": 2}` or `{"method": "PUT", "target": "/manifests/", "times": 1}`, with
/// `"effect": "cut" | "cut-after" | "cut-body" | "expire-token" | "expire-bearer" | "forget-token" | "refuse-early" |
/// "wrong-digest"`, `{"status": 503, "retry_after": 1}` or `{"slow_ms": 50}`.
fn fault(body: &Value) -> Option<Fault> {
    let number = |key: &str| body[key].as_u64();
    let small = |key: &str| number(key).and_then(|number| u32::try_from(number).ok());
    let when = if let Some(number) = number("request") {
        When::Request(number)
    } else if let Some(next) = small("next") {
        When::Next(next)
    } else {
        When::Matching {
            method: body["method"].as_str().unwrap_or_default().to_owned(),
            target: body["target"].as_str()?.to_owned(),
            times: small("times").unwrap_or(1),
        }
    };
    let effect = match (&body["effect"], number("slow_ms")) {
        (_, Some(milliseconds)) => Effect::Slow(Duration::from_millis(milliseconds)),
        (Value::String(word), None) => match word.as_str() {
            "cut" => Effect::Cut,
            "cut-after" => Effect::CutAfter,
            "cut-body" => Effect::CutBody,
            "expire-token" => Effect::ExpireToken,
            "expire-bearer" => Effect::ExpireBearer,
            "forget-token" => Effect::ForgetToken,
            "refuse-early" => Effect::RefuseEarly,
            "wrong-digest" => Effect::WrongDigest,
            _ => return None,
        },
        (refusal, None) => Effect::Refuse {
            status: u16::try_from(refusal["status"].as_u64()?).ok()?,
            retry_after: refusal["retry_after"].as_u64(),
        },
    };
    Some(Fault { when, effect })
}

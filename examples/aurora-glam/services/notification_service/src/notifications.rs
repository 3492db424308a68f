//! Notifications: what customers are told, by mail or text message. They are queued here; a gateway would take them from the queue.

use aurora_common::{ApiError, Checks, JsonBody, Number, Params, Store};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

const CHANNELS: [&str; 2] = ["email", "sms"];
const STATES: [&str; 2] = ["queued", "sent"];

#[derive(Debug, Clone, Serialize)]
struct Notification {
    id: u64,
    channel: &'static str,
    recipient: String,
    message: String,
    state: &'static str,
}

#[derive(Debug, Deserialize)]
struct NewNotification {
    channel: String,
    recipient: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Filter {
    state: Option<String>,
}

pub(crate) fn routes() -> Router {
    let seeds = [
        (
            "email",
            "noor@example.com",
            "See you on 12 June at 10:00, Noor.",
            "sent",
        ),
        (
            "sms",
            "+4915550100",
            "Your colour appointment is tomorrow at 11:00.",
            "queued",
        ),
    ];
    let notifications = Store::seeded(seeds, |id, (channel, recipient, message, state)| {
        Notification {
            id,
            channel,
            recipient: recipient.to_owned(),
            message: message.to_owned(),
            state,
        }
    });
    Router::new()
        .route("/notifications", get(list).post(create))
        .route("/notifications/{id}", get(one))
        .route("/notifications/{id}/sent", post(sent))
        .with_state(notifications)
}

async fn list(
    State(notifications): State<Store<Notification>>,
    Params(filter): Params<Filter>,
) -> Result<Json<Vec<Notification>>, ApiError> {
    let mut checks = Checks::default();
    let state = filter
        .state
        .map(|state| checks.choice("state", &state, &STATES));
    checks.result()?;
    Ok(Json(
        notifications.list(|one| state.is_none_or(|state| one.state == state)),
    ))
}

async fn one(
    State(notifications): State<Store<Notification>>,
    Number(id): Number,
) -> Result<Json<Notification>, ApiError> {
    notifications.get(id).map(Json).ok_or(ApiError::NotFound {
        what: "notification",
        id,
    })
}

async fn create(
    State(notifications): State<Store<Notification>>,
    JsonBody(new): JsonBody<NewNotification>,
) -> Result<(StatusCode, Json<Notification>), ApiError> {
    let mut checks = Checks::default();
    let channel = checks.choice("channel", &new.channel, &CHANNELS);
    let recipient = match channel {
        "email" => checks.email("recipient", &new.recipient),
        "sms" => phone(&mut checks, &new.recipient),
        _ => String::new(),
    };
    let message = checks.text(
        "message",
        &new.message,
        if channel == "sms" { 160 } else { 2000 },
    );
    checks.result()?;
    let notification = notifications.add(
        |_| None::<ApiError>,
        |id| Notification {
            id,
            channel,
            recipient,
            message,
            state: STATES[0],
        },
    )?;
    Ok((StatusCode::ACCEPTED, Json(notification)))
}

async fn sent(
    State(notifications): State<Store<Notification>>,
    Number(id): Number,
) -> Result<Json<Notification>, ApiError> {
    notifications
        .change(id, |notification| {
            notification.state = STATES[1];
            notification.clone()
        })
        .map(Json)
        .ok_or(ApiError::NotFound {
            what: "notification",
            id,
        })
}

/// A number as E.164 has it: `+` and 8 to 15 digits. Blanks and hyphens, which people write, are dropped.
fn phone(checks: &mut Checks, text: &str) -> String {
    let number: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    let fits = number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if !fits {
        checks.problem("recipient", "must be a phone number like +49 155 50100");
    }
    number
}

#[cfg(test)]
mod tests {
    use aurora_common::testing::Client;
    use serde_json::{Value, json};

    use crate::service;

    fn new(channel: &str, recipient: &str, message: &str) -> Value {
        json!({"channel": channel, "recipient": recipient, "message": message})
    }

    #[tokio::test]
    async fn notifications_are_queued_and_then_sent() {
        let mut client = Client::new(service());
        let (status, queued) = client
            .post(
                "/api/v1/notifications",
                new("sms", "+49 155-50 101", "See you soon."),
            )
            .await;
        assert_eq!(status, 202);
        assert_eq!(
            (&queued["recipient"], &queued["state"]),
            (&json!("+4915550101"), &json!("queued"))
        );
        let (_, waiting) = client.get("/api/v1/notifications?state=queued").await;
        assert_eq!(waiting.as_array().map(Vec::len), Some(2));
        let (status, sent) = client.post("/api/v1/notifications/3/sent", json!({})).await;
        assert_eq!((status, &sent["state"]), (200, &json!("sent")));
        assert_eq!(client.get("/api/v1/notifications/3").await, (200, sent));
        assert_eq!(
            client
                .post("/api/v1/notifications/99/sent", json!({}))
                .await
                .0,
            404
        );
    }

    #[tokio::test]
    async fn what_cannot_be_delivered_is_refused() {
        let mut client = Client::new(service());
        let long = "x".repeat(161);
        for (body, field) in [
            (new("pigeon", "roof", "Coo."), "channel"),
            (new("email", "noor", "Hello."), "recipient"),
            (new("sms", "noor@example.com", "Hello."), "recipient"),
            (new("sms", "+0123456789", "Hello."), "recipient"),
            (new("sms", "+4915550101", &long), "message"),
            (new("email", "noor@example.com", ""), "message"),
        ] {
            let (status, error) = client.post("/api/v1/notifications", body).await;
            assert_eq!(
                (status, &error["error"]["fields"][0]["field"]),
                (422, &json!(field))
            );
        }
        let mail = new("email", "noor@example.com", &long);
        assert_eq!(client.post("/api/v1/notifications", mail).await.0, 202);
    }
}

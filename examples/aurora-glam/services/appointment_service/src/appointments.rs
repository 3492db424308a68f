//! Appointments: who comes when, for what, to whom. Nobody serves two customers at once.

use aurora_common::time::Moment;
use aurora_common::{ApiError, Checks, JsonBody, Number, Params, Store};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// The salons open at 9:00 and the last customer leaves at 20:00.
const OPEN: u32 = 9 * 60;
const CLOSE: u32 = 20 * 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Booked,
    Cancelled,
}

#[derive(Debug, Clone, Serialize)]
struct Appointment {
    id: u64,
    customer: String,
    service_id: u64,
    staff_id: u64,
    starts_at: Moment,
    minutes: u32,
    status: Status,
}

#[derive(Debug, Deserialize)]
struct NewAppointment {
    customer: String,
    service_id: u64,
    staff_id: u64,
    starts_at: String,
    minutes: u32,
}

#[derive(Debug, Deserialize)]
struct Filter {
    staff_id: Option<u64>,
    day: Option<String>,
}

impl Appointment {
    fn overlaps(&self, staff_id: u64, from: Moment, minutes: u32) -> bool {
        self.status == Status::Booked
            && self.staff_id == staff_id
            && self.starts_at.day == from.day
            && self.starts_at.minute < from.minute + minutes
            && from.minute < self.starts_at.minute + self.minutes
    }
}

pub(crate) fn routes() -> Router {
    let seeds = [
        ("Noor Haddad", 1, 1, "2026-06-12T10:00", 60),
        ("Elif Kaya", 3, 2, "2026-06-12T11:00", 150),
        ("Jonas Berg", 1, 1, "2026-06-13T15:30", 60),
    ];
    let seeds =
        seeds
            .into_iter()
            .filter_map(|(customer, service_id, staff_id, starts_at, minutes)| {
                Some((
                    customer,
                    service_id,
                    staff_id,
                    Moment::parse(starts_at)?,
                    minutes,
                ))
            });
    let appointments = Store::seeded(
        seeds,
        |id, (customer, service_id, staff_id, starts_at, minutes)| Appointment {
            id,
            customer: customer.to_owned(),
            service_id,
            staff_id,
            starts_at,
            minutes,
            status: Status::Booked,
        },
    );
    Router::new()
        .route("/appointments", get(list).post(create))
        .route("/appointments/{id}", get(one))
        .route("/appointments/{id}/cancel", post(cancel))
        .with_state(appointments)
}

async fn list(
    State(appointments): State<Store<Appointment>>,
    Params(filter): Params<Filter>,
) -> Result<Json<Vec<Appointment>>, ApiError> {
    let mut checks = Checks::default();
    let day = filter.day.and_then(|day| checks.day("day", &day));
    checks.result()?;
    let mut found = appointments.list(|appointment| {
        filter
            .staff_id
            .is_none_or(|staff_id| appointment.staff_id == staff_id)
            && day.is_none_or(|day| appointment.starts_at.day == day)
    });
    found.sort_by_key(|appointment| (appointment.starts_at, appointment.id));
    Ok(Json(found))
}

async fn one(
    State(appointments): State<Store<Appointment>>,
    Number(id): Number,
) -> Result<Json<Appointment>, ApiError> {
    appointments.get(id).map(Json).ok_or(ApiError::NotFound {
        what: "appointment",
        id,
    })
}

async fn create(
    State(appointments): State<Store<Appointment>>,
    JsonBody(new): JsonBody<NewAppointment>,
) -> Result<(StatusCode, Json<Appointment>), ApiError> {
    let mut checks = Checks::default();
    let customer = checks.text("customer", &new.customer, 80);
    let minutes = checks.number("minutes", new.minutes, 10..=480);
    let starts_at = checks.moment("starts_at", &new.starts_at);
    if let Some(starts_at) = starts_at
        && !(OPEN..=CLOSE).contains(&starts_at.minute)
    {
        checks.problem("starts_at", "is outside the opening hours, 9:00 to 20:00");
    } else if let Some(starts_at) = starts_at
        && starts_at.minute.saturating_add(minutes) > CLOSE
    {
        checks.problem("starts_at", "would end after 20:00");
    }
    checks.result()?;
    let Some(starts_at) = starts_at else {
        return Err(ApiError::Malformed("starts_at is missing".to_owned()));
    };
    let busy = |other: &Appointment| {
        other.overlaps(new.staff_id, starts_at, minutes).then(|| {
            ApiError::Conflict(format!(
                "that time is taken: another appointment starts at {} and takes {} minutes",
                other.starts_at, other.minutes
            ))
        })
    };
    let appointment = appointments.add(busy, |id| Appointment {
        id,
        customer,
        service_id: new.service_id,
        staff_id: new.staff_id,
        starts_at,
        minutes,
        status: Status::Booked,
    })?;
    Ok((StatusCode::CREATED, Json(appointment)))
}

/// Cancels; an appointment that is already cancelled stays so.
async fn cancel(
    State(appointments): State<Store<Appointment>>,
    Number(id): Number,
) -> Result<Json<Appointment>, ApiError> {
    appointments
        .change(id, |appointment| {
            appointment.status = Status::Cancelled;
            appointment.clone()
        })
        .map(Json)
        .ok_or(ApiError::NotFound {
            what: "appointment",
            id,
        })
}

#[cfg(test)]
mod tests {
    use aurora_common::testing::Client;
    use serde_json::{Value, json};

    use crate::service;

    fn at(starts_at: &str, staff_id: u64, minutes: u32) -> Value {
        json!({"customer": "Ada", "service_id": 1, "staff_id": staff_id, "starts_at": starts_at, "minutes": minutes})
    }

    #[tokio::test]
    async fn appointments_are_listed_by_day_and_person() {
        let mut client = Client::new(service());
        let (_, day) = client.get("/api/v1/appointments?day=2026-06-12").await;
        assert_eq!(day.as_array().map(Vec::len), Some(2));
        let (_, hers) = client
            .get("/api/v1/appointments?day=2026-06-12&staff_id=2")
            .await;
        assert_eq!(hers[0]["customer"], "Elif Kaya");
        assert_eq!(client.get("/api/v1/appointments?day=friday").await.0, 422);
    }

    #[tokio::test]
    async fn a_later_booking_for_an_earlier_time_is_listed_first() {
        let mut client = Client::new(service());
        assert_eq!(
            client
                .post("/api/v1/appointments", at("2026-06-12T09:00", 1, 60))
                .await
                .0,
            201
        );
        let (_, day) = client
            .get("/api/v1/appointments?day=2026-06-12&staff_id=1")
            .await;
        assert_eq!((&day[0]["id"], &day[1]["id"]), (&json!(4), &json!(1)));
    }

    #[tokio::test]
    async fn nobody_serves_two_customers_at_once() {
        for (starts_at, staff_id, minutes, expected) in [
            ("2026-06-12T10:00", 1, 60, 409),
            ("2026-06-12T10:59", 1, 30, 409),
            ("2026-06-12T09:30", 1, 31, 409),
            ("2026-06-12T09:30", 1, 30, 201),
            ("2026-06-12T11:00", 1, 30, 201),
            ("2026-06-12T10:00", 3, 60, 201),
            ("2026-06-14T10:00", 1, 60, 201),
        ] {
            let mut client = Client::new(service());
            let new = at(starts_at, staff_id, minutes);
            let (status, body) = client.post("/api/v1/appointments", new).await;
            assert_eq!(status, expected, "{starts_at}: {body}");
        }
    }

    #[tokio::test]
    async fn a_cancelled_appointment_frees_its_time() {
        let mut client = Client::new(service());
        let path = "/api/v1/appointments/1/cancel";
        let (status, cancelled) = client.post(path, json!({})).await;
        assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")));
        assert_eq!(
            client
                .post("/api/v1/appointments", at("2026-06-12T10:00", 1, 60))
                .await
                .0,
            201
        );
        assert_eq!(
            client
                .post("/api/v1/appointments/99/cancel", json!({}))
                .await
                .0,
            404
        );
    }

    #[tokio::test]
    async fn opening_hours_hold() {
        for (starts_at, minutes, expected) in [
            ("2026-06-14T08:59", 30, 422),
            ("2026-06-14T09:00", 30, 201),
            ("2026-06-14T19:30", 30, 201),
            ("2026-06-14T19:31", 30, 422),
            ("2026-06-14T19:00", u32::MAX, 422),
            ("2026-06-31T10:00", 30, 422),
        ] {
            let mut client = Client::new(service());
            let (status, body) = client
                .post("/api/v1/appointments", at(starts_at, 1, minutes))
                .await;
            assert_eq!(status, expected, "{starts_at}: {body}");
        }
    }
}

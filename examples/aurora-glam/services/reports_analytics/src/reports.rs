//! Reports: one entry for each day on which a salon was open, and sums over them.

use aurora_common::time::Day;
use aurora_common::{ApiError, Checks, JsonBody, Number, Params, Store};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize)]
struct Report {
    id: u64,
    day: Day,
    appointments: u32,
    cancelled: u32,
    revenue_cents: u32,
}

#[derive(Debug, Deserialize)]
struct NewReport {
    day: String,
    appointments: u32,
    cancelled: u32,
    revenue_cents: u32,
}

#[derive(Debug, Deserialize)]
struct Span {
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    days: u64,
    appointments: u64,
    cancelled: u64,
    revenue_cents: u64,
    /// Of all appointments, in tenths of a per cent.
    cancelled_permille: u64,
    best_day: Option<Day>,
}

pub(crate) fn routes() -> Router {
    let seeds = [
        ("2026-06-08", 18, 1, 124_300),
        ("2026-06-09", 22, 2, 151_900),
        ("2026-06-10", 19, 0, 138_250),
        ("2026-06-11", 27, 3, 190_400),
        ("2026-06-12", 31, 2, 232_750),
        ("2026-06-13", 34, 4, 251_600),
    ];
    let seeds = seeds
        .into_iter()
        .filter_map(|(day, appointments, cancelled, revenue_cents)| {
            Some((Day::parse(day)?, appointments, cancelled, revenue_cents))
        });
    let reports = Store::seeded(
        seeds,
        |id, (day, appointments, cancelled, revenue_cents)| Report {
            id,
            day,
            appointments,
            cancelled,
            revenue_cents,
        },
    );
    Router::new()
        .route("/reports", get(list).post(create))
        .route("/reports/summary", get(summary))
        .route("/reports/{id}", get(one))
        .with_state(reports)
}

async fn list(
    State(reports): State<Store<Report>>,
    Params(span): Params<Span>,
) -> Result<Json<Vec<Report>>, ApiError> {
    Ok(Json(within(&reports, span)?))
}

async fn summary(
    State(reports): State<Store<Report>>,
    Params(span): Params<Span>,
) -> Result<Json<Summary>, ApiError> {
    Ok(Json(summarise(&within(&reports, span)?)))
}

async fn one(
    State(reports): State<Store<Report>>,
    Number(id): Number,
) -> Result<Json<Report>, ApiError> {
    reports
        .get(id)
        .map(Json)
        .ok_or(ApiError::NotFound { what: "report", id })
}

async fn create(
    State(reports): State<Store<Report>>,
    JsonBody(new): JsonBody<NewReport>,
) -> Result<(StatusCode, Json<Report>), ApiError> {
    let mut checks = Checks::default();
    let day = checks.day("day", &new.day);
    let appointments = checks.number("appointments", new.appointments, 0..=1000);
    let revenue_cents = checks.number("revenue_cents", new.revenue_cents, 0..=100_000_000);
    if new.cancelled > new.appointments {
        checks.problem("cancelled", "must not be more than appointments");
    }
    checks.result()?;
    let Some(day) = day else {
        return Err(ApiError::Malformed("day is missing".to_owned()));
    };
    let there = |report: &Report| {
        (report.day == day).then(|| ApiError::Conflict(format!("{day} has report {}", report.id)))
    };
    let report = reports.add(there, |id| Report {
        id,
        day,
        appointments,
        cancelled: new.cancelled,
        revenue_cents,
    })?;
    Ok((StatusCode::CREATED, Json(report)))
}

fn within(reports: &Store<Report>, span: Span) -> Result<Vec<Report>, ApiError> {
    let mut checks = Checks::default();
    let from = span.from.and_then(|day| checks.day("from", &day));
    let to = span.to.and_then(|day| checks.day("to", &day));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        checks.problem("to", "must not be before from");
    }
    checks.result()?;
    let mut found = reports.list(|report| {
        from.is_none_or(|from| report.day >= from) && to.is_none_or(|to| report.day <= to)
    });
    found.sort_by_key(|report| report.day);
    Ok(found)
}

fn summarise(reports: &[Report]) -> Summary {
    let sum = |field: fn(&Report) -> u32| reports.iter().map(|r| u64::from(field(r))).sum::<u64>();
    let appointments = sum(|report| report.appointments);
    let cancelled = sum(|report| report.cancelled);
    Summary {
        days: reports.len() as u64,
        appointments,
        cancelled,
        revenue_cents: sum(|report| report.revenue_cents),
        cancelled_permille: (cancelled * 1000).checked_div(appointments).unwrap_or(0),
        best_day: reports
            .iter()
            .max_by_key(|report| report.revenue_cents)
            .map(|report| report.day),
    }
}

#[cfg(test)]
mod tests {
    use aurora_common::testing::Client;
    use serde_json::json;

    use super::{Summary, summarise};
    use crate::service;

    #[test]
    fn no_days_sum_up_to_nothing() {
        assert_eq!(summarise(&[]), Summary::default());
    }

    #[tokio::test]
    async fn sums_cover_the_days_asked_for_and_no_others() {
        let mut client = Client::new(service());
        let (status, sums) = client
            .get("/api/v1/reports/summary?from=2026-06-09&to=2026-06-10")
            .await;
        assert_eq!(status, 200);
        assert_eq!(
            sums,
            json!({
                "days": 2, "appointments": 41, "cancelled": 2, "revenue_cents": 290_150,
                "cancelled_permille": 48, "best_day": "2026-06-09",
            })
        );
        let (_, all) = client.get("/api/v1/reports/summary").await;
        assert_eq!(
            (&all["days"], &all["best_day"]),
            (&json!(6), &json!("2026-06-13"))
        );
        let (_, none) = client.get("/api/v1/reports?from=2027-01-01").await;
        assert_eq!(none, json!([]));
        assert_eq!(
            client
                .get("/api/v1/reports?from=2026-06-10&to=2026-06-09")
                .await
                .0,
            422
        );
    }

    #[tokio::test]
    async fn a_day_is_reported_once() {
        let mut client = Client::new(service());
        let new = json!({"day": "2026-06-01", "appointments": 9, "cancelled": 1, "revenue_cents": 60_000});
        let (status, created) = client.post("/api/v1/reports", new.clone()).await;
        assert_eq!((status, &created["id"]), (201, &json!(7)));
        assert_eq!(client.get("/api/v1/reports/7").await, (200, created));
        assert_eq!(
            client.get("/api/v1/reports").await.1[0]["day"],
            "2026-06-01"
        );
        assert_eq!(client.post("/api/v1/reports", new).await.0, 409);
    }

    #[tokio::test]
    async fn figures_that_cannot_be_are_refused() {
        let mut client = Client::new(service());
        let new =
            json!({"day": "2026-02-30", "appointments": 2, "cancelled": 3, "revenue_cents": 0});
        let (status, error) = client.post("/api/v1/reports", new).await;
        assert_eq!(status, 422);
        let fields: Vec<_> = error["error"]["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|problem| problem["field"].clone())
            .collect();
        assert_eq!(fields, ["day", "cancelled"]);
        assert_eq!(client.get("/api/v1/reports/tomorrow").await.0, 400);
    }
}

//! Staff: who works here, what they do best, and on which days.

use aurora_common::{ApiError, Checks, JsonBody, Number, Params, Store};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

const SKILLS: [&str; 4] = ["hair", "colour", "nails", "skin"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Debug, Clone, Serialize)]
struct Member {
    id: u64,
    name: String,
    title: String,
    skills: Vec<&'static str>,
    days: Vec<&'static str>,
}

#[derive(Debug, Deserialize)]
struct NewMember {
    name: String,
    title: String,
    skills: Vec<String>,
    days: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Filter {
    skill: Option<String>,
    day: Option<String>,
}

pub(crate) fn routes() -> Router {
    let seeds = [
        (
            "Mira Solano",
            "Creative director",
            vec!["hair", "colour"],
            vec!["tue", "wed", "thu", "fri"],
        ),
        (
            "Theo Lindqvist",
            "Colourist",
            vec!["colour"],
            vec!["wed", "thu", "fri", "sat"],
        ),
        (
            "Ayaka Mori",
            "Nail artist",
            vec!["nails"],
            vec!["mon", "tue", "fri", "sat"],
        ),
        (
            "Leila Farouk",
            "Skin therapist",
            vec!["skin", "nails"],
            vec!["mon", "wed", "thu", "sat"],
        ),
    ];
    let staff = Store::seeded(seeds, |id, (name, title, skills, days)| Member {
        id,
        name: name.to_owned(),
        title: title.to_owned(),
        skills,
        days,
    });
    Router::new()
        .route("/staff", get(list).post(create))
        .route("/staff/{id}", get(one))
        .with_state(staff)
}

async fn list(
    State(staff): State<Store<Member>>,
    Params(filter): Params<Filter>,
) -> Result<Json<Vec<Member>>, ApiError> {
    let mut checks = Checks::default();
    let skill = filter
        .skill
        .map(|skill| checks.choice("skill", &skill, &SKILLS));
    let day = filter.day.map(|day| checks.choice("day", &day, &DAYS));
    checks.result()?;
    Ok(Json(staff.list(|member| {
        skill.is_none_or(|skill| member.skills.contains(&skill))
            && day.is_none_or(|day| member.days.contains(&day))
    })))
}

async fn one(
    State(staff): State<Store<Member>>,
    Number(id): Number,
) -> Result<Json<Member>, ApiError> {
    staff.get(id).map(Json).ok_or(ApiError::NotFound {
        what: "member of staff",
        id,
    })
}

async fn create(
    State(staff): State<Store<Member>>,
    JsonBody(new): JsonBody<NewMember>,
) -> Result<(StatusCode, Json<Member>), ApiError> {
    let mut checks = Checks::default();
    let name = checks.text("name", &new.name, 80);
    let title = checks.text("title", &new.title, 60);
    let skills = several(&mut checks, "skills", &new.skills, &SKILLS);
    let days = several(&mut checks, "days", &new.days, &DAYS);
    checks.result()?;
    let member = staff.add(
        |_| None::<ApiError>,
        |id| Member {
            id,
            name,
            title,
            skills,
            days,
        },
    )?;
    Ok((StatusCode::CREATED, Json(member)))
}

/// At least one of `choices`, each once, in the order of `choices`.
fn several(
    checks: &mut Checks,
    field: &'static str,
    texts: &[String],
    choices: &[&'static str],
) -> Vec<&'static str> {
    if texts.is_empty() {
        checks.problem(field, "must name at least one");
    }
    let named: Vec<&str> = texts
        .iter()
        .map(|text| checks.choice(field, text, choices))
        .collect();
    choices
        .iter()
        .copied()
        .filter(|choice| named.contains(choice))
        .collect()
}

#[cfg(test)]
mod tests {
    use aurora_common::testing::Client;
    use serde_json::json;

    use crate::service;

    #[tokio::test]
    async fn staff_are_found_by_skill_and_day() {
        let mut client = Client::new(service());
        let (_, colourists) = client.get("/api/v1/staff?skill=colour").await;
        assert_eq!(colourists.as_array().map(Vec::len), Some(2));
        let (_, on_saturday) = client.get("/api/v1/staff?skill=colour&day=sat").await;
        assert_eq!(on_saturday.as_array().map(Vec::len), Some(1));
        assert_eq!(on_saturday[0]["name"], "Theo Lindqvist");
        assert_eq!(client.get("/api/v1/staff?day=someday").await.0, 422);
        assert_eq!(
            client.get("/api/v1/staff/3").await.1["title"],
            "Nail artist"
        );
    }

    #[tokio::test]
    async fn skills_and_days_come_once_and_in_order() {
        let mut client = Client::new(service());
        let new = json!({
            "name": "Sam Okoro", "title": "Stylist",
            "skills": ["colour", "hair", "hair"], "days": ["sat", "mon"],
        });
        let (status, created) = client.post("/api/v1/staff", new).await;
        assert_eq!(status, 201);
        assert_eq!(created["skills"], json!(["hair", "colour"]));
        assert_eq!(created["days"], json!(["mon", "sat"]));
        assert_eq!(client.get("/api/v1/staff/5").await, (200, created));
    }

    #[tokio::test]
    async fn incomplete_entries_are_refused() {
        let mut client = Client::new(service());
        let new = json!({"name": "Sam", "title": " ", "skills": [], "days": ["mon", "caturday"]});
        let (status, error) = client.post("/api/v1/staff", new).await;
        assert_eq!(status, 422);
        let fields: Vec<_> = error["error"]["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|problem| problem["field"].clone())
            .collect();
        assert_eq!(fields, ["title", "skills", "days"]);
        assert_eq!(client.get("/api/v1/staff/99").await.0, 404);
    }
}

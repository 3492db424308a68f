//! Users: customers who book, and the staff who sign in.

use aurora_common::{ApiError, Checks, JsonBody, Number, Params, Store};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

const ROLES: [&str; 3] = ["customer", "staff", "manager"];

#[derive(Debug, Clone, Serialize)]
struct User {
    id: u64,
    name: String,
    email: String,
    role: &'static str,
}

#[derive(Debug, Deserialize)]
struct NewUser {
    name: String,
    email: String,
    #[serde(default = "customer")]
    role: String,
}

#[derive(Debug, Deserialize)]
struct Filter {
    role: Option<String>,
    email: Option<String>,
}

fn customer() -> String {
    ROLES[0].to_owned()
}

pub(crate) fn routes() -> Router {
    let seeds = [
        ("Noor Haddad", "noor@example.com", "customer"),
        ("Elif Kaya", "elif@example.com", "customer"),
        ("Jonas Berg", "jonas@example.com", "customer"),
        ("Mira Solano", "mira@aurora-glam.com", "manager"),
    ];
    let users = Store::seeded(seeds, |id, (name, email, role)| User {
        id,
        name: name.to_owned(),
        email: email.to_owned(),
        role,
    });
    Router::new()
        .route("/users", get(list).post(create))
        .route("/users/{id}", get(one))
        .with_state(users)
}

async fn list(
    State(users): State<Store<User>>,
    Params(filter): Params<Filter>,
) -> Result<Json<Vec<User>>, ApiError> {
    let mut checks = Checks::default();
    let role = filter.role.map(|role| checks.choice("role", &role, &ROLES));
    checks.result()?;
    let email = filter.email.map(|email| email.trim().to_ascii_lowercase());
    Ok(Json(users.list(|user| {
        role.is_none_or(|role| user.role == role)
            && email.as_ref().is_none_or(|email| user.email == *email)
    })))
}

async fn one(State(users): State<Store<User>>, Number(id): Number) -> Result<Json<User>, ApiError> {
    users
        .get(id)
        .map(Json)
        .ok_or(ApiError::NotFound { what: "user", id })
}

async fn create(
    State(users): State<Store<User>>,
    JsonBody(new): JsonBody<NewUser>,
) -> Result<(StatusCode, Json<User>), ApiError> {
    let mut checks = Checks::default();
    let name = checks.text("name", &new.name, 80);
    let email = checks.email("email", &new.email);
    let role = checks.choice("role", &new.role, &ROLES);
    checks.result()?;
    let taken = |user: &User| {
        (user.email == email).then(|| ApiError::Conflict(format!("{email} is user {}", user.id)))
    };
    let user = users.add(taken, |id| User {
        id,
        name,
        email: email.clone(),
        role,
    })?;
    Ok((StatusCode::CREATED, Json(user)))
}

#[cfg(test)]
mod tests {
    use aurora_common::testing::Client;
    use serde_json::json;

    use crate::service;

    #[tokio::test]
    async fn users_are_listed_by_role_and_mail() {
        let mut client = Client::new(service());
        let (status, all) = client.get("/api/v1/users").await;
        assert_eq!((status, all.as_array().map(Vec::len)), (200, Some(4)));
        let (_, managers) = client.get("/api/v1/users?role=manager").await;
        assert_eq!(managers[0]["name"], "Mira Solano");
        let (_, elif) = client.get("/api/v1/users?email=ELIF@example.com").await;
        assert_eq!(elif[0]["id"], 2);
        let (status, error) = client.get("/api/v1/users?role=boss").await;
        assert_eq!(
            (status, &error["error"]["fields"][0]["field"]),
            (422, &json!("role"))
        );
    }

    #[tokio::test]
    async fn a_new_user_is_a_customer_and_can_be_read_back() {
        let mut client = Client::new(service());
        let new = json!({"name": " Ada ", "email": "Ada@Example.com"});
        let (status, created) = client.post("/api/v1/users", new).await;
        assert_eq!(status, 201);
        assert_eq!(
            created,
            json!({"id": 5, "name": "Ada", "email": "ada@example.com", "role": "customer"})
        );
        assert_eq!(client.get("/api/v1/users/5").await, (200, created));
    }

    #[tokio::test]
    async fn a_mail_address_is_taken_once() {
        let mut client = Client::new(service());
        let new = json!({"name": "Another Noor", "email": "noor@example.com"});
        let (status, error) = client.post("/api/v1/users", new).await;
        assert_eq!((status, &error["error"]["code"]), (409, &json!("conflict")));
    }

    #[tokio::test]
    async fn bad_requests_say_what_is_wrong() {
        let mut client = Client::new(service());
        let new = json!({"name": "", "email": "nobody", "role": "boss"});
        let (status, error) = client.post("/api/v1/users", new).await;
        assert_eq!(status, 422);
        let fields: Vec<_> = error["error"]["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|problem| problem["field"].clone())
            .collect();
        assert_eq!(fields, ["name", "email", "role"]);
        assert_eq!(
            client.post("/api/v1/users", json!({"name": "Ada"})).await.0,
            400
        );
        assert_eq!(client.get("/api/v1/users/99").await.0, 404);
        assert_eq!(client.get("/api/v1/users/noor").await.0, 400);
    }
}

//! Services: cuts, colours and care, with their length and price.

use aurora_common::{ApiError, Checks, JsonBody, Number, Params, Store};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

const CATEGORIES: [&str; 4] = ["hair", "colour", "nails", "skin"];

#[derive(Debug, Clone, Serialize)]
struct Offer {
    id: u64,
    name: String,
    category: &'static str,
    description: String,
    minutes: u32,
    price_cents: u32,
}

#[derive(Debug, Deserialize)]
struct NewOffer {
    name: String,
    category: String,
    #[serde(default)]
    description: String,
    minutes: u32,
    price_cents: u32,
}

#[derive(Debug, Deserialize)]
struct Filter {
    category: Option<String>,
    max_minutes: Option<u32>,
}

pub(crate) fn routes() -> Router {
    let seeds = [
        (
            "Signature cut",
            "hair",
            "Consultation, wash, precision cut and finish.",
            60,
            6800,
        ),
        (
            "Blow-dry",
            "hair",
            "Wash and a finish that lasts the evening.",
            40,
            4200,
        ),
        (
            "Balayage",
            "colour",
            "Hand-painted light, toned to your skin.",
            150,
            18500,
        ),
        (
            "Gloss",
            "colour",
            "A sheer tone that brings the shine back.",
            45,
            5900,
        ),
        (
            "Gel manicure",
            "nails",
            "Shape, care and two weeks of colour.",
            50,
            4500,
        ),
        (
            "Aurora facial",
            "skin",
            "Cleanse, peel and a mask chosen on the day.",
            75,
            9800,
        ),
    ];
    let offers = Store::seeded(
        seeds,
        |id, (name, category, description, minutes, price_cents)| Offer {
            id,
            name: name.to_owned(),
            category,
            description: description.to_owned(),
            minutes,
            price_cents,
        },
    );
    Router::new()
        .route("/services", get(list).post(create))
        .route("/services/{id}", get(one))
        .with_state(offers)
}

async fn list(
    State(offers): State<Store<Offer>>,
    Params(filter): Params<Filter>,
) -> Result<Json<Vec<Offer>>, ApiError> {
    let mut checks = Checks::default();
    let category = filter
        .category
        .map(|category| checks.choice("category", &category, &CATEGORIES));
    checks.result()?;
    Ok(Json(offers.list(|offer| {
        category.is_none_or(|category| offer.category == category)
            && filter
                .max_minutes
                .is_none_or(|minutes| offer.minutes <= minutes)
    })))
}

async fn one(
    State(offers): State<Store<Offer>>,
    Number(id): Number,
) -> Result<Json<Offer>, ApiError> {
    offers.get(id).map(Json).ok_or(ApiError::NotFound {
        what: "service",
        id,
    })
}

async fn create(
    State(offers): State<Store<Offer>>,
    JsonBody(new): JsonBody<NewOffer>,
) -> Result<(StatusCode, Json<Offer>), ApiError> {
    let mut checks = Checks::default();
    let name = checks.text("name", &new.name, 60);
    let category = checks.choice("category", &new.category, &CATEGORIES);
    let minutes = checks.number("minutes", new.minutes, 10..=480);
    let price_cents = checks.number("price_cents", new.price_cents, 100..=200_000);
    checks.result()?;
    let same_name = |offer: &Offer| {
        offer
            .name
            .eq_ignore_ascii_case(&name)
            .then(|| ApiError::Conflict(format!("{} is service {}", offer.name, offer.id)))
    };
    let offer = offers.add(same_name, |id| Offer {
        id,
        name: name.clone(),
        category,
        description: new.description.trim().to_owned(),
        minutes,
        price_cents,
    })?;
    Ok((StatusCode::CREATED, Json(offer)))
}

#[cfg(test)]
mod tests {
    use aurora_common::testing::Client;
    use serde_json::{Value, json};

    use crate::service;

    fn names(offers: &Value) -> Vec<&str> {
        offers
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|offer| offer["name"].as_str())
            .collect()
    }

    #[tokio::test]
    async fn services_are_listed_by_category_and_length() {
        let mut client = Client::new(service());
        assert_eq!(names(&client.get("/api/v1/services").await.1).len(), 6);
        let (_, colours) = client.get("/api/v1/services?category=colour").await;
        assert_eq!(names(&colours), ["Balayage", "Gloss"]);
        let (_, short) = client
            .get("/api/v1/services?category=colour&max_minutes=60")
            .await;
        assert_eq!(names(&short), ["Gloss"]);
        assert_eq!(client.get("/api/v1/services?max_minutes=long").await.0, 400);
    }

    #[tokio::test]
    async fn a_new_service_can_be_read_back() {
        let mut client = Client::new(service());
        let new =
            json!({"name": "Fringe trim", "category": "hair", "minutes": 15, "price_cents": 1500});
        let (status, created) = client.post("/api/v1/services", new).await;
        assert_eq!((status, &created["id"]), (201, &json!(7)));
        assert_eq!(client.get("/api/v1/services/7").await, (200, created));
    }

    #[tokio::test]
    async fn what_cannot_be_offered_is_refused() {
        let mut client = Client::new(service());
        for (new, field) in [
            (
                json!({"name": "Nap", "category": "sleep", "minutes": 30, "price_cents": 1000}),
                "category",
            ),
            (
                json!({"name": "Nap", "category": "hair", "minutes": 5, "price_cents": 1000}),
                "minutes",
            ),
            (
                json!({"name": "Nap", "category": "hair", "minutes": 30, "price_cents": 0}),
                "price_cents",
            ),
        ] {
            let (status, error) = client.post("/api/v1/services", new).await;
            assert_eq!(
                (status, &error["error"]["fields"][0]["field"]),
                (422, &json!(field))
            );
        }
        let again =
            json!({"name": "gloss", "category": "colour", "minutes": 45, "price_cents": 5900});
        assert_eq!(client.post("/api/v1/services", again).await.0, 409);
        assert_eq!(client.get("/api/v1/services/0").await.0, 404);
    }
}

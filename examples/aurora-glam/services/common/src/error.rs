//! Errors as the APIs answer them: `{"error":{"code":…,"message":…,"fields":[…]}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// Nothing has that number.
    NotFound {
        /// What was looked for: `user`, `appointment` …
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// No resource lives at that path.
    NoRoute,
    /// The resource does not know that method.
    NoMethod,
    /// The request cannot be read.
    Malformed(String),
    /// The request can be read, but these fields cannot be used.
    Invalid(Vec<FieldProblem>),
    /// It contradicts what is stored.
    Conflict(String),
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// Its name in the request.
    pub field: &'static str,
    /// What is wrong, for people.
    pub problem: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Content<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[FieldProblem]>::is_empty")]
    fields: &'a [FieldProblem],
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let no_fields = Vec::new();
        let (status, code, message, fields) = match &self {
            Self::NotFound { what, id } => (
                StatusCode::NOT_FOUND,
                "not_found",
                format!("there is no {what} {id}"),
                &no_fields,
            ),
            Self::NoRoute => (
                StatusCode::NOT_FOUND,
                "no_route",
                "there is nothing at this path".to_owned(),
                &no_fields,
            ),
            Self::NoMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "no_method",
                "this path does not know that method".to_owned(),
                &no_fields,
            ),
            Self::Malformed(why) => (
                StatusCode::BAD_REQUEST,
                "malformed",
                why.clone(),
                &no_fields,
            ),
            Self::Invalid(fields) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "some fields cannot be used".to_owned(),
                fields,
            ),
            Self::Conflict(why) => (StatusCode::CONFLICT, "conflict", why.clone(), &no_fields),
        };
        (
            status,
            Json(Body {
                error: Content {
                    code,
                    message: &message,
                    fields,
                },
            }),
        )
            .into_response()
    }
}

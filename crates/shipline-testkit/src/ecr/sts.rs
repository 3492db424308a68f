//! What is asked before ECR is: a GitHub Actions job's OIDC token and STS's credentials for it; the credentials of who has logged in
//! with `aws sso login`.

use http::header::{AUTHORIZATION, HeaderName};
use http::{Method, StatusCode};
use serde_json::json;

use super::server::{Answer, Asked, plain};

/// Path of the job's token (`ACTIONS_ID_TOKEN_REQUEST_URL`).
pub(super) const TOKEN_PATH: &str = "/github/token";
/// What the job must show for it (`ACTIONS_ID_TOKEN_REQUEST_TOKEN`).
pub(super) const JOB_SECRET: &str = "the job's own token";
const IDENTITY: &str = "identity.of.the-job";

/// Whether a request is for STS.
pub(super) fn is_sts(asked: &Asked) -> bool {
    asked.method == Method::POST && asked.path == "/" && asked.body.starts_with(b"Action=")
}

/// Path of the SSO portal's credentials.
pub(super) const PORTAL_PATH: &str = "/federation/credentials";
/// What `aws sso login` has left behind.
const SSO_TOKEN: &str = "token of the tests";

pub(super) fn portal(asked: &Asked) -> Answer {
    let header = HeaderName::from_static("x-amz-sso_bearer_token");
    let known = asked.header(&header) == Some(SSO_TOKEN);
    if !known || asked.parameter("role_name").is_none() || asked.parameter("account_id").is_none() {
        return plain(
            StatusCode::UNAUTHORIZED,
            "application/json",
            r#"{"message":"Session token not found or invalid"}"#.into(),
        );
    }
    let body = json!({ "roleCredentials": {
        "accessKeyId": "ASIASSO",
        "secretAccessKey": "fake",
        "sessionToken": "fake",
        "expiration": 4_070_908_800_000_i64,
    } });
    plain(StatusCode::OK, "application/json", body.to_string().into())
}

pub(super) fn token(asked: &Asked) -> Answer {
    let known = asked.header(&AUTHORIZATION) == Some(&format!("bearer {JOB_SECRET}"));
    let audience = asked.parameter("audience");
    if !known || audience.as_deref() != Some("sts.amazonaws.com") {
        return plain(StatusCode::FORBIDDEN, "text/plain", "no\n".into());
    }
    let body = json!({ "count": 1, "value": IDENTITY });
    plain(StatusCode::OK, "application/json", body.to_string().into())
}

pub(super) fn sts(asked: &Asked) -> Answer {
    let body = String::from_utf8_lossy(&asked.body);
    let has = |pair: &str| body.split('&').any(|found| found == pair);
    let good = has("Action=AssumeRoleWithWebIdentity")
        && has(&format!("WebIdentityToken={IDENTITY}"))
        && body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A");
    if !good {
        return error(
            StatusCode::FORBIDDEN,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        );
    }
    plain(
        StatusCode::OK,
        "text/xml",
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAFAKE</AccessKeyId><SecretAccessKey>fake</SecretAccessKey><SessionToken>fake</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>".into(),
    )
}

pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    );
    plain(status, "text/xml", body.into())
}

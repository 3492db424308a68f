//! What the API's errors mean: by their code, never by their text.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;
use shipline_engine::error::{BackendError, ErrorClass, chain};

/// What the API said, for the error's cause.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
}

/// An error of the API as ours.
pub(super) fn failed<E>(attempted: &str, error: SdkError<E, Response>) -> BackendError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let Some(service) = error.as_service_error() {
        let code = service.code().unwrap_or_default().to_owned();
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        let class = class(&code, status);
        let message = service.message().unwrap_or_default().to_owned();
        let failed = BackendError::new(class, attempted).because(Refused {
            code: if code.is_empty() {
                format!("the API answered {}", status.unwrap_or_default())
            } else {
                code
            },
            message,
        });
        return if class == ErrorClass::Denied {
            failed.hint("the AWS identity in use may not do this: `aws sts get-caller-identity` says who it is")
        } else {
            failed
        };
    }
    match without_credentials(&error) {
        Some(Without::Answer(class, hints)) => {
            let mut failed = BackendError::new(class, attempted).because(chain(&error));
            failed.hints = hints;
            return failed;
        }
        Some(Without::Source) => {
            return BackendError::new(ErrorClass::Denied, attempted)
                .because(chain(&error))
                .hint("log in to AWS: `aws sso login`, AWS_PROFILE, keys in the environment, or a role for the workflow");
        }
        None => {}
    }
    let passing = matches!(
        error,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_)
    );
    let class = if passing {
        ErrorClass::Retryable
    } else {
        ErrorClass::Invalid
    };
    BackendError::new(class, attempted).because(chain(&error))
}

/// The code of an API error, where the API answered.
pub(super) fn code<E>(error: &SdkError<E, Response>) -> Option<&str>
where
    E: ProvideErrorMetadata,
{
    error.as_service_error()?.code()
}

/// Why there are no credentials.
enum Without {
    /// Who gives them said no, or could not be reached.
    Answer(ErrorClass, Vec<String>),
    /// Nothing on this machine gives any.
    Source,
}

/// Whether, and why, no request was made because there are no credentials.
fn without_credentials(error: &(dyn Error + 'static)) -> Option<Without> {
    let mut without = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() {
            without = Some(Without::Source);
        }
        if let Some(error) = error.downcast_ref::<BackendError>() {
            return Some(Without::Answer(error.class, error.hints.clone()));
        }
        next = error.source();
    }
    without
}

/// The class of an API error.
fn class(code: &str, status: Option<u16>) -> ErrorClass {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "IDPCommunicationError"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ServerException"
        | "ServiceUnavailable"
        | "InternalFailure" => ErrorClass::Retryable,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "OptInRequired"
        | "ExpiredTokenException"
        | "ExpiredToken" => ErrorClass::Denied,
        "RepositoryNotFoundException"
        | "ImageNotFoundException"
        | "LayersNotFoundException"
        | "ReferencedImagesNotFoundException" => ErrorClass::NotFound,
        "ImageAlreadyExistsException"
        | "ImageTagAlreadyExistsException"
        | "ImageDigestDoesNotMatchException"
        | "RepositoryAlreadyExistsException" => ErrorClass::Conflict,
        "KmsException" | "LimitExceededException" => ErrorClass::Unavailable,
        _ => match status {
            Some(429 | 500..) => ErrorClass::Retryable,
            Some(401 | 403) => ErrorClass::Denied,
            _ => ErrorClass::Invalid,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_classes_and_statuses_stand_in() {
        let check = |code: &str, status: u16, expected: ErrorClass| {
            assert_eq!(class(code, Some(status)), expected, "{code} {status}");
        };
        check("ThrottlingException", 400, ErrorClass::Retryable);
        check("AccessDeniedException", 400, ErrorClass::Denied);
        check("RepositoryNotFoundException", 400, ErrorClass::NotFound);
        check("ImageTagAlreadyExistsException", 400, ErrorClass::Conflict);
        check("InvalidParameterException", 400, ErrorClass::Invalid);
        check("", 503, ErrorClass::Retryable);
        check("", 403, ErrorClass::Denied);
    }
}

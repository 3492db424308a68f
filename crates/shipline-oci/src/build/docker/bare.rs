//! Images without layers: `docker save` refuses them ("empty export"), so their config is put together from what the engine
//! says of them.

use bollard::Docker;
use bollard::models::ImageInspect;
use shipline_engine::backend::BuildRequest;
use shipline_engine::error::{BackendError, ErrorClass};

use crate::image::{self, ContainerConfig, History, ImageConfig, RootFs};

/// The config of an image that has no layer.
pub(super) async fn config(
    docker: &Docker,
    id: &str,
    inspected: ImageInspect,
    request: &BuildRequest,
) -> Result<Vec<u8>, BackendError> {
    let failed = || {
        BackendError::new(
            ErrorClass::Failed,
            format!("take {} out of the engine", request.id),
        )
    };
    let instant = |seconds: i64| {
        jiff::Timestamp::from_second(seconds)
            .map(|at| at.to_string())
            .map_err(|error| failed().because(error))
    };
    let container = serde_json::to_value(inspected.config)
        .and_then(serde_json::from_value::<Option<ContainerConfig>>)
        .map_err(|error| failed().because(error))?
        .unwrap_or_default();
    let mut history = Vec::new();
    let steps = docker
        .image_history(id)
        .await
        .map_err(|error| failed().because(error))?;
    // The engine tells the latest step first.
    for step in steps.into_iter().rev() {
        history.push(History {
            created: Some(instant(step.created)?),
            author: None,
            created_by: Some(step.created_by),
            comment: Some(step.comment).filter(|comment| !comment.is_empty()),
            empty_layer: true,
        });
    }
    let platform = &request.platform;
    image::to_json(&ImageConfig {
        created: Some(instant(request.created)?),
        author: inspected.author.filter(|author| !author.is_empty()),
        architecture: inspected
            .architecture
            .unwrap_or_else(|| platform.architecture.clone()),
        variant: inspected.variant.filter(|variant| !variant.is_empty()),
        os: inspected.os.unwrap_or_else(|| platform.os.clone()),
        config: container,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        },
        history: Some(history),
    })
}

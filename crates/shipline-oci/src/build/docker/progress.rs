//! An engine's build messages as lines and steps: classic text streams, and BuildKit's vertices and logs.

use std::collections::BTreeMap;

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use shipline_engine::event::{OutputStream, Unit};
use shipline_engine::task::{TaskContext, TaskMessage};

/// What has been said so far of a build.
#[derive(Default)]
pub(super) struct Progress {
    /// Classic output that has no line end yet.
    partial: String,
    /// BuildKit's vertices by digest.
    steps: BTreeMap<String, Step>,
}

struct Step {
    number: usize,
    started: bool,
    done: bool,
    partial: Vec<u8>,
}

impl Progress {
    /// Classic output: text that may end in the middle of a line.
    pub(super) async fn text(&mut self, text: &str, task: &TaskContext) {
        self.partial.push_str(text);
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            let line = line.trim_end();
            if let Some((done, total)) = classic_step(line) {
                task.progress("build", done, Some(total), Unit::Steps);
            }
            if !line.is_empty() {
                output(task, OutputStream::Stdout, line.to_owned()).await;
            }
        }
    }

    /// A message of BuildKit.
    pub(super) async fn status(&mut self, status: &StatusResponse, task: &TaskContext) {
        for vertex in &status.vertexes {
            let next = self.steps.len() + 1;
            let step = self.steps.entry(vertex.digest.clone()).or_insert(Step {
                number: next,
                started: false,
                done: false,
                partial: Vec::new(),
            });
            let number = step.number;
            if vertex.started.is_some() && !step.started {
                step.started = true;
                output(
                    task,
                    OutputStream::Note,
                    format!("#{number} {}", vertex.name),
                )
                .await;
            }
            if vertex.completed.is_some() && !step.done {
                step.done = true;
                let ending = match (vertex.error.is_empty(), vertex.cached) {
                    (false, _) => format!("error: {}", vertex.error),
                    (true, true) => "cached".to_owned(),
                    (true, false) => "done".to_owned(),
                };
                output(task, OutputStream::Note, format!("#{number} {ending}")).await;
            }
        }
        for log in &status.logs {
            if let Some(step) = self.steps.get_mut(&log.vertex) {
                step.partial.extend_from_slice(&log.msg);
                let stream = if log.stream == 2 {
                    OutputStream::Stderr
                } else {
                    OutputStream::Stdout
                };
                while let Some(end) = step.partial.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = step.partial.drain(..=end).collect();
                    let line = format!(
                        "#{} {}",
                        step.number,
                        String::from_utf8_lossy(&line).trim_end()
                    );
                    output(task, stream, line).await;
                }
            }
        }
        let done = self.steps.values().filter(|step| step.done).count();
        task.progress(
            "build",
            done as u64,
            Some(self.steps.len() as u64),
            Unit::Steps,
        );
    }

    /// What was said without a last line end.
    pub(super) async fn finish(&mut self, task: &TaskContext) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.trim().is_empty() {
            output(task, OutputStream::Stdout, rest.trim_end().to_owned()).await;
        }
        for step in self.steps.values_mut() {
            let rest = std::mem::take(&mut step.partial);
            if !rest.is_empty() {
                output(
                    task,
                    OutputStream::Stdout,
                    format!(
                        "#{} {}",
                        step.number,
                        String::from_utf8_lossy(&rest).trim_end()
                    ),
                )
                .await;
            }
        }
    }
}

async fn output(task: &TaskContext, stream: OutputStream, line: String) {
    task.say(TaskMessage::Output { stream, line }).await;
}

/// `Step 2/5 : RUN …` as done and total.
fn classic_step(line: &str) -> Option<(u64, u64)> {
    let (done, rest) = line.strip_prefix("Step ")?.split_once('/')?;
    let (total, _) = rest.split_once(" : ")?;
    Some((
        done.parse::<u64>().ok()?.saturating_sub(1),
        total.trim().parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_steps_are_counted() {
        assert_eq!(classic_step("Step 1/5 : FROM scratch"), Some((0, 5)));
        assert_eq!(classic_step("STEP 1/5: FROM scratch"), None);
        assert_eq!(classic_step("Step by step"), None);
    }
}

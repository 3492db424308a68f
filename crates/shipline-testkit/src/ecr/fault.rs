//! Faults on demand, and the log of what was asked.

use std::time::Duration;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// Its place in the order of arrival, from 0.
    pub number: u64,
    /// Method.
    pub method: String,
    /// Path and query; for the API `/` and the operation (`/#PutImage`).
    pub target: String,
    /// Status of the answer, 0 where there was none.
    pub status: u16,
}

/// Which requests a fault meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The request with this number (from 0, since the last reset).
    Request(u64),
    /// Requests of this method whose target contains the text, so many times.
    Matching {
        /// Method; any where empty.
        method: String,
        /// Part of path and query, or `#Operation` of the API.
        target: String,
        /// How many of them are met.
        times: u32,
    },
    /// This many requests in a row, from now.
    Next(u32),
}

/// What happens to a request that a fault meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The connection is cut with the request half read; nothing happens.
    Cut,
    /// The request is carried out, and the connection cut instead of the answer.
    CutAfter,
    /// It is answered, and the connection cut in the middle of the answer's body.
    CutBody,
    /// It is refused with this status.
    Refuse {
        /// Status.
        status: u16,
        /// `Retry-After` in seconds.
        retry_after: Option<u64>,
    },
    /// It is refused as if its token had expired, after its body was read, and all tokens so far are worthless.
    ExpireToken,
    /// All bearer tokens so far are worthless, and what carries one is refused; logins stay good.
    ExpireBearer,
    /// It is refused as if its token had never been one, after its body was read, and all tokens so far are worthless.
    ForgetToken,
    /// The same before its body is read: the connection is closed on a client that is still sending.
    RefuseEarly,
    /// It is carried out, and the answer names another digest.
    WrongDigest,
    /// The client is sent elsewhere (307).
    Redirect(String),
    /// It is answered later.
    Slow(Duration),
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which requests it meets.
    pub when: When,
    /// What happens to them.
    pub effect: Effect,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: Vec<Fault>,
    log: Vec<LoggedRequest>,
}

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    pub(super) fn reset(&mut self) {
        self.armed.clear();
        self.log.clear();
    }

    pub(super) fn log(&self) -> Vec<LoggedRequest> {
        self.log.clone()
    }

    /// Logs a request; gives its number and what happens to it.
    pub(super) fn meet(&mut self, method: &str, target: &str) -> (u64, Option<Effect>) {
        let number = self.log.len() as u64;
        self.log.push(LoggedRequest {
            number,
            method: method.to_owned(),
            target: target.to_owned(),
            status: 0,
        });
        let met = self.armed.iter_mut().find_map(|fault| {
            let met = match &mut fault.when {
                When::Request(wanted) => *wanted == number,
                When::Matching {
                    method: wanted,
                    target: part,
                    times,
                } => {
                    let met = *times > 0
                        && (wanted.is_empty() || wanted == method)
                        && target.contains(part.as_str());
                    if met {
                        *times -= 1;
                    }
                    met
                }
                When::Next(left) => {
                    let met = *left > 0;
                    *left = left.saturating_sub(1);
                    met
                }
            };
            met.then(|| fault.effect.clone())
        });
        (number, met)
    }

    pub(super) fn answered(&mut self, number: u64, status: u16) {
        // A reset in between has taken the entry away.
        let entry = usize::try_from(number)
            .ok()
            .and_then(|at| self.log.get_mut(at));
        if let Some(entry) = entry {
            entry.status = status;
        }
    }
}

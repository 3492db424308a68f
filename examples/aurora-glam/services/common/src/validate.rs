//! Checks of what people send. Each check answers with a value that can be used; [`Checks::result`] says whether all were fine.

use crate::error::{ApiError, FieldProblem};
use crate::time::{Day, Moment};

/// Collects all problems of a request, so that a form can show them at once.
#[derive(Debug, Default)]
pub struct Checks {
    problems: Vec<FieldProblem>,
}

impl Checks {
    /// Notes a problem.
    pub fn problem(&mut self, field: &'static str, problem: impl Into<String>) {
        self.problems.push(FieldProblem {
            field,
            problem: problem.into(),
        });
    }

    /// A text that is neither empty nor longer than `longest` characters, without blanks around it.
    pub fn text(&mut self, field: &'static str, text: &str, longest: usize) -> String {
        let text = text.trim();
        if text.is_empty() {
            self.problem(field, "must not be empty");
        } else if text.chars().count() > longest {
            self.problem(
                field,
                format!("must not be longer than {longest} characters"),
            );
        }
        text.to_owned()
    }

    /// Something that can be a mail address; whether it is one, only a mail can tell.
    pub fn email(&mut self, field: &'static str, text: &str) -> String {
        let text = text.trim();
        let plausible = text.len() <= 254
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && text.rsplit_once('@').is_some_and(|(name, host)| {
                !name.is_empty()
                    && !name.contains('@')
                    && host.split('.').count() > 1
                    && host.split('.').all(|label| !label.is_empty())
            });
        if !plausible {
            self.problem(field, "must be a mail address");
        }
        text.to_ascii_lowercase()
    }

    /// One of `choices`.
    pub fn choice(
        &mut self,
        field: &'static str,
        text: &str,
        choices: &[&'static str],
    ) -> &'static str {
        match choices.iter().find(|choice| **choice == text.trim()) {
            Some(choice) => choice,
            None => {
                self.problem(field, format!("must be one of {}", choices.join(", ")));
                ""
            }
        }
    }

    /// A number within `range`.
    pub fn number(
        &mut self,
        field: &'static str,
        number: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> u32 {
        if !range.contains(&number) {
            self.problem(
                field,
                format!("must be from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A day, `2026-03-14`.
    pub fn day(&mut self, field: &'static str, text: &str) -> Option<Day> {
        let day = Day::parse(text.trim());
        if day.is_none() {
            self.problem(field, "must be a day like 2026-03-14");
        }
        day
    }

    /// A moment, `2026-03-14T10:30`.
    pub fn moment(&mut self, field: &'static str, text: &str) -> Option<Moment> {
        let moment = Moment::parse(text.trim());
        if moment.is_none() {
            self.problem(field, "must be a moment like 2026-03-14T10:30");
        }
        moment
    }

    /// Whether everything was fine.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with every problem.
    pub fn result(self) -> Result<(), ApiError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Invalid(self.problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(check: impl FnOnce(&mut Checks)) -> Vec<&'static str> {
        let mut checks = Checks::default();
        check(&mut checks);
        match checks.result() {
            Ok(()) => Vec::new(),
            Err(ApiError::Invalid(problems)) => problems.into_iter().map(|p| p.field).collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn mail_addresses() {
        for good in ["ada@example.com", "Ada.Lovelace+salon@mail.example.co.uk"] {
            assert!(
                fields(|c| {
                    c.email("email", good);
                })
                .is_empty(),
                "{good}"
            );
        }
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada@localhost",
            "ada@example..com",
            "a b@example.com",
            "a@b@example.com",
        ] {
            assert_eq!(
                fields(|c| {
                    c.email("email", bad);
                }),
                ["email"],
                "{bad}"
            );
        }
    }

    #[test]
    fn all_problems_are_reported_together() {
        let found = fields(|c| {
            c.text("name", "  ", 10);
            c.choice("role", "boss", &["customer", "staff"]);
            c.number("minutes", 500, 5..=480);
            c.day("day", "soon");
            c.moment("at", "2026-03-14");
        });
        assert_eq!(found, ["name", "role", "minutes", "day", "at"]);
    }

    #[test]
    fn texts_lose_the_blanks_around_them() {
        let mut checks = Checks::default();
        assert_eq!(checks.text("name", "  Ada ", 3), "Ada");
        assert_eq!(
            checks.choice("role", "staff", &["customer", "staff"]),
            "staff"
        );
        assert_eq!(checks.result(), Ok(()));
    }
}

//! The user's own tasks: a prompt a line, and what the answer must be or contain.
//!
//! ```text
//! {"prompt": "How does a device enrol?", "expect": "outpost enroll"}
//! {"prompt": "2 + 2?", "expect": "4", "match": "exact"}
//! ```

use std::fmt;

use serde::Deserialize;

/// Largest file of tasks, bytes.
pub(crate) const TASK_BYTES: usize = 1 << 20;

/// Most tasks: each is answered by every variant.
const MOST_TASKS: usize = 1_000;

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// What is asked.
    pub(crate) prompt: String,
    /// What the answer is held against.
    expect: String,
    /// How.
    #[serde(default, rename = "match")]
    how: How,
}

/// How an answer is held against what is expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    /// The answer has it in it somewhere.
    #[default]
    Contains,
    /// The answer is just that, but for space around it.
    Exact,
}

/// A file holds no tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoTasks {
    line: usize,
    why: String,
}

impl fmt::Display for NoTasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for NoTasks {}

impl Task {
    /// Whether an answer is as expected.
    pub(crate) fn is_right(&self, answer: &str) -> bool {
        match self.how {
            How::Contains => answer.contains(&self.expect),
            How::Exact => answer.trim() == self.expect.trim(),
        }
    }
}

/// Reads a file of tasks, one a line; empty lines count for nothing.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Task>, NoTasks> {
    let wrong = |line: usize, why: &str| NoTasks { line, why: why.to_owned() };
    if bytes.len() > TASK_BYTES {
        return Err(wrong(1, "the file is larger than 1 MiB"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "the file is no UTF-8 text"))?;
    let mut tasks = Vec::new();
    for (line, written) in text.lines().enumerate().filter(|(_, written)| !written.trim().is_empty()) {
        let task: Task = serde_json::from_str(written).map_err(|error| wrong(line + 1, &error.to_string()))?;
        if task.prompt.trim().is_empty() || task.expect.trim().is_empty() {
            return Err(wrong(line + 1, "`prompt` and `expect` must say something"));
        }
        if tasks.len() == MOST_TASKS {
            return Err(wrong(line + 1, "more than 1,000 tasks"));
        }
        tasks.push(task);
    }
    if tasks.is_empty() { Err(wrong(1, "there is no task")) } else { Ok(tasks) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_contains_what_is_expected_or_is_it_exactly() {
        let text = "{\"prompt\": \"a\", \"expect\": \"four\"}\n\n{\"prompt\": \"b\", \"expect\": \"4\", \"match\": \"exact\"}\n";
        let tasks = read(text.as_bytes()).unwrap();
        assert!(tasks[0].is_right("It is four.") && !tasks[0].is_right("It is 4."));
        assert!(tasks[1].is_right(" 4\n") && !tasks[1].is_right("It is 4."));
    }

    #[test]
    fn a_line_that_is_no_task_is_named() {
        let said = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(said(""), "line 1: there is no task");
        assert!(said("{\"prompt\": \"a\", \"expect\": \"b\"}\n{\"prompt\": 1}").starts_with("line 2: invalid type"));
        assert!(said("{\"prompt\": \"a\", \"expect\": \" \"}").ends_with("must say something"));
        assert!(said("{\"prompt\": \"a\", \"expect\": \"b\", \"more\": 1}").contains("unknown field `more`"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_tasks_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(tasks) = read(&bytes) {
                prop_assert!(!tasks.is_empty());
            }
        }
    }
}

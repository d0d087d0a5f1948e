//! Somebody else's measured run, watched for what disturbs it: the same eyes that the probe's own run is watched with.

use crate::cores::Cores;
use crate::tree::Tree;
use crate::watch::Moment;

/// A run that is under way.
#[derive(Debug)]
pub struct Watching {
    tree: Tree,
    before: Moment,
    /// Physical cores and hardware threads of the machine.
    cores: u32,
    logical: u32,
}

impl Watching {
    /// Begins to watch.
    #[must_use]
    pub fn begin() -> Self {
        let tree = crate::live();
        let cores = Cores::read(&tree);
        let (facts, usable) = (cores.facts(&tree), cores.usable(&tree));
        let (physical, logical) = (facts.cores.unwrap_or(usable), facts.threads.unwrap_or(usable));
        let before = Moment::now(&tree);
        Self { tree, before, cores: physical, logical }
    }

    /// What disturbed the run until now, in words, if it used so many threads; empty if nothing did.
    #[must_use]
    pub fn end(self, threads: u32) -> Vec<String> {
        self.before.until(Moment::now(&self.tree), &self.tree, threads, self.cores, self.logical).causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Fixture;

    #[test]
    fn a_run_beside_others_is_told_what_they_took() {
        let machine = |busy: u64, own: u64| {
            Fixture::default()
                .file("proc/stat", &format!("cpu  {busy} 0 0 50000 0 0 0 0 0 0\n"))
                .file("proc/self/stat", &format!("7 (a) R 1 2 3 4 5 6 7 8 9 10 {own} 0 0 0\n"))
        };
        let (before, alone, beside) = (machine(100, 10), machine(500, 410), machine(500, 110));
        let watching = |later: &Fixture| Watching {
            tree: later.tree(),
            before: Moment::now(&before.tree()),
            cores: 2,
            logical: 2,
        };
        assert_eq!(watching(&alone).end(2), Vec::<String>::new());
        assert_eq!(watching(&beside).end(2), ["other programs took 1.5 cores meanwhile"]);
    }
}

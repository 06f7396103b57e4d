//! Ratios, and whether they are what they must be.

use std::env;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Verdict {
    lines: Vec<String>,
    missed: usize,
}

impl Verdict {
    pub(crate) fn at_least(&mut self, what: &str, ratio: f64, bound: f64, aim: f64) {
        self.add(what, ratio, &format!("at least {bound}, aim {aim}"), ratio >= bound, ratio >= aim);
    }

    pub(crate) fn at_most(&mut self, what: &str, ratio: f64, bound: f64) {
        self.add(what, ratio, &format!("at most {bound}"), ratio <= bound, ratio <= bound);
    }

    /// Something that nothing is asked of.
    pub(crate) fn told(&mut self, what: &str, ratio: f64) {
        self.lines.push(format!("  {what:<72} {ratio:>8.2}"));
    }

    /// Something that could not be measured.
    pub(crate) fn skipped(&mut self, what: &str, why: &str) {
        self.lines.push(format!("  {what:<72} not measured: {why}"));
    }

    fn add(&mut self, what: &str, ratio: f64, wanted: &str, held: bool, reached: bool) {
        let word = match (held, reached) {
            (true, true) => "held",
            (true, false) => "held, short of the aim",
            (false, _) => "MISSED",
        };
        self.missed += usize::from(!held);
        self.lines.push(format!("  {what:<72} {ratio:>8.2}  ({wanted}: {word})"));
    }

    /// Prints all, and fails where that is asked for and a bound was missed.
    pub(crate) fn tell(self) {
        println!("\nratios");
        for line in self.lines {
            println!("{line}");
        }
        let judges = env::var_os("WORKPLANE_STORE_BOUNDS").is_some_and(|asked| asked == "1");
        assert!(!judges || self.missed == 0, "{} bounds were missed", self.missed);
    }
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

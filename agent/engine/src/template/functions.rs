//! What templates written for Python's Jinja expect beyond the language: `raise_exception`, `strftime_now`.

use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Goes before the words of `raise_exception`, so that a refusal can be told from a failure.
pub(super) const REFUSED: &str = "refused: ";
/// The variable that carries the time.
pub(super) const NOW: &str = "__now_s";

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", |words: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{words}")))
    });
    environment.add_function("strftime_now", |state: &State<'_, '_>, format: String| {
        let now_s = state.lookup(NOW).and_then(|value| i64::try_from(value).ok()).unwrap_or(0);
        strftime(&format, now_s)
    });
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

fn strftime(format: &str, now_s: i64) -> String {
    let (day, second) = (now_s.div_euclid(86_400), now_s.rem_euclid(86_400));
    let (year, month, day_of_month) = civil(day);
    // Remainders and civil dates are small and not negative, so these casts lose nothing.
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[day.rem_euclid(7) as usize]);
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('Y') => text.push_str(&format!("{year:04}")),
            Some('y') => text.push_str(&format!("{:02}", year.rem_euclid(100))),
            Some('m') => text.push_str(&format!("{month:02}")),
            Some('d') => text.push_str(&format!("{day_of_month:02}")),
            Some('B') => text.push_str(month_name),
            Some('b') => text.push_str(&month_name[..3]),
            Some('A') => text.push_str(day_name),
            Some('a') => text.push_str(&day_name[..3]),
            Some('H') => text.push_str(&format!("{:02}", second / 3_600)),
            Some('M') => text.push_str(&format!("{:02}", second / 60 % 60)),
            Some('S') => text.push_str(&format!("{:02}", second % 60)),
            Some('%') => text.push('%'),
            Some(other) => {
                text.push('%');
                text.push(other);
            }
            None => text.push('%'),
        }
    }
    text
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar (the algorithm is Howard Hinnant's
/// `civil_from_days`: eras of 400 years that begin on the first of March).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_month)
}

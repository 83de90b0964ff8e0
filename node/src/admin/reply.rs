//! The forms of answers and of what is asked: pages, errors, times.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::store::StoreError;
use crate::time::Time;

/// Entries of one page, at most.
const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 100;

/// Entries up to the end of the last page: whoever wants those behind names them more exactly.
const REACH_MAX: usize = 100_000;

/// Why a request is not answered as it was meant: `{code, message}`.
#[derive(Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { status, code, message: message.into() }
    }

    pub(super) fn bad(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Unavailable => Problem::unavailable("the Store does not answer"),
            StoreError::Full => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "QUOTA_EXCEEDED", "the Store is full"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "code": self.code, "message": self.message }))).into_response()
    }
}

/// What most handlers return.
pub(super) type Reply = Result<Json<Value>, Problem>;

/// A query string. Whoever reads it says what may stand in it: a name that nobody knows is a filter that would be missed.
pub(super) struct Asked(Uri);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Problem> {
        Ok(Asked(parts.uri.clone()))
    }
}

impl Asked {
    /// All of it, with no other names than these.
    pub(super) fn read<T: DeserializeOwned>(&self, names: &[&str]) -> Result<T, Problem> {
        for (name, _) in self.parse::<Vec<(String, String)>>()? {
            if !names.contains(&name.as_str()) {
                return Err(Problem::bad(format!("{name}: there is no such parameter here; there are {}", names.join(", "))));
            }
        }
        self.parse()
    }

    /// The same where there are pages.
    pub(super) fn paged<T: DeserializeOwned>(&self, names: &[&str]) -> Result<(T, Page), Problem> {
        let asked = self.read(&[names, &["page", "limit"]].concat())?;
        Ok((asked, self.parse::<Paging>()?.page()?))
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let query = Query::<T>::try_from_uri(&self.0);
        query.map(|Query(asked)| asked).map_err(|error: QueryRejection| Problem::bad(error.body_text()))
    }
}

/// Where nothing may stand but what pages have.
#[derive(Deserialize)]
pub(super) struct Nothing {}

/// How many a list without pages has at most.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    let is_right = (1..=LIMIT_MAX).contains(&limit);
    is_right.then_some(limit).ok_or_else(|| Problem::bad(format!("limit is 1 to {LIMIT_MAX}")))
}

/// What stands in the path, with the same.
pub(super) struct Named<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named<T>, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(named)| Named(named)).map_err(|error: PathRejection| Problem::new(error.status(), "BAD_REQUEST", error.body_text()))
    }
}

/// A JSON body. Its Content-Type has to say so: a form of another site cannot have that one.
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Body<T>, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            let text = "the body has to be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", text));
        }
        let body = axum::body::Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Problem::new(error.status(), "BAD_REQUEST", error.body_text()))?;
        serde_json::from_slice(&body).map(Body).map_err(|error| Problem::bad(format!("the body is not what is expected: {error}")))
    }
}

/// What has to be written as a JSON object: by itself a struct could be a list of its fields too.
pub(super) struct Object<T>(pub T);

impl<T: Default> Default for Object<T> {
    fn default() -> Object<T> {
        Object(T::default())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        let object = serde_json::Map::deserialize(deserializer)?;
        T::deserialize(Value::Object(object)).map(Object).map_err(serde::de::Error::custom)
    }
}

/// `page` and `limit`; the first page is 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Paging {
    page: Option<usize>,
    limit: Option<usize>,
}

/// One page of something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    number: usize,
    pub limit: usize,
}

impl Paging {
    fn page(self) -> Result<Page, Problem> {
        let (number, limit) = (self.page.unwrap_or(1), self.limit.unwrap_or(LIMIT_DEFAULT));
        if number == 0 || limit == 0 || limit > LIMIT_MAX {
            return Err(Problem::bad(format!("page begins with 1, and limit is 1 to {LIMIT_MAX}")));
        }
        if number.saturating_mul(limit) > REACH_MAX {
            return Err(Problem::bad(format!("only the first {REACH_MAX} can be paged through; a filter makes them fewer")));
        }
        Ok(Page { number, limit })
    }
}

impl Page {
    /// How many entries there are up to its end.
    pub(super) fn reach(self) -> usize {
        self.number * self.limit
    }

    /// `{data, meta}`, where `all` holds the entries up to the end of the page at least, and there are `count` in all.
    pub(super) fn of<T: Serialize>(self, all: Vec<T>, count: usize) -> Value {
        let data: Vec<T> = all.into_iter().skip(self.reach() - self.limit).take(self.limit).collect();
        json!({ "data": data, "meta": { "page": self.number, "limit": self.limit, "count": count, "hasnext": self.reach() < count } })
    }
}

/// RFC 3339, in UTC, with milliseconds.
pub(super) fn date(Time(ms): Time) -> String {
    let (days, ms_of_day) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    // Days from 0000-03-01 make years end with February, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60, ms_of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms_of_day % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let rows = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_564_805_007, "2026-11-25T00:00:05.007Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ];
        for (ms, expected) in rows {
            assert_eq!(date(Time(ms)), expected);
        }
    }
}

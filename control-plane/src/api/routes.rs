//! The routes, each written once with its methods: what is served and what the description says can be compared.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::fleet::Fleet;

/// Routes that are being listed.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    router: Router<Fleet>,
    listed: Vec<Listed>,
}

/// One method of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub(crate) path: &'static str,
    pub(crate) method: &'static str,
    /// Whether `If-Match` is honoured there.
    pub(crate) is_conditional: bool,
}

/// The methods of a path.
#[derive(Debug)]
pub(crate) struct Methods {
    router: MethodRouter<Fleet>,
    methods: Vec<&'static str>,
    is_conditional: bool,
}

impl Routes {
    /// Adds a path with its methods.
    pub(crate) fn route(mut self, path: &'static str, methods: Methods) -> Self {
        let Methods { router, methods, is_conditional } = methods;
        self.router = self.router.route(path, router);
        self.listed.extend(methods.into_iter().map(|method| Listed { path, method, is_conditional }));
        self
    }

    /// By method and path, whether `If-Match` is honoured there.
    pub(crate) fn conditional(&self) -> BTreeMap<(&'static str, &'static str), bool> {
        self.listed.iter().map(|one| ((one.method, one.path), one.is_conditional)).collect()
    }

    /// Everything that is listed.
    #[cfg(test)]
    pub(crate) fn listed(&self) -> &[Listed] {
        &self.listed
    }

    pub(crate) fn into_router(self) -> Router<Fleet> {
        self.router
    }
}

macro_rules! methods {
    ($($name:ident $filter:ident $word:literal,)+) => {
        $(
            #[doc = concat!("Answers ", $word, ".")]
            #[allow(dead_code, reason = "which methods come first is for the routes to say")]
            pub(crate) fn $name<H: Handler<T, Fleet>, T: 'static>(handler: H) -> Methods {
                let router = on(MethodFilter::$filter, handler);
                Methods { router, methods: vec![$word], is_conditional: false }
            }
        )+

        impl Methods {
            $(
                #[doc = concat!("Answers ", $word, " too.")]
                #[allow(dead_code, reason = "which methods are added to others is for the routes to say")]
                pub(crate) fn $name<H: Handler<T, Fleet>, T: 'static>(mut self, handler: H) -> Self {
                    self.router = self.router.on(MethodFilter::$filter, handler);
                    self.methods.push($word);
                    self
                }
            )+
        }
    };
}

methods! {
    get GET "GET",
    post POST "POST",
    put PUT "PUT",
    patch PATCH "PATCH",
    delete DELETE "DELETE",
}

impl Methods {
    /// Takes larger or smaller bodies than others.
    pub(crate) fn layer(mut self, limit: DefaultBodyLimit) -> Self {
        self.router = self.router.layer(limit);
        self
    }

    /// Its changes honour `If-Match`: the handlers change through [`Fleet::change_if`]. Elsewhere a request with that header is
    /// refused, since to overlook it would lose an update.
    ///
    /// [`Fleet::change_if`]: crate::fleet::Fleet::change_if
    pub(crate) fn conditional(mut self) -> Self {
        self.is_conditional = true;
        self
    }
}

//! Names that would be paths.

use outpost_contract::ReasonCode;
use outpost_trust::CatalogueError;

use crate::fleet::{Fleet, forge_targets};

#[tokio::test]
async fn a_path_in_a_target_name_is_refused_although_it_is_signed() {
    let fleet = Fleet::new();
    for bad in ["../policy-shop.json", "a/b", "/etc/passwd", "a/../policy-shop.json", ".hidden", "a\u{0}b", "a b", "ä"]
    {
        let forged = forge_targets(&fleet, |targets| {
            let object = targets["targets"].as_object_mut().unwrap();
            let policy = object.remove("policy-shop.json").unwrap();
            object.insert(bad.to_owned(), policy);
        });
        let refused = fleet.device().take(&forged).await.unwrap_err();
        assert!(matches!(refused, CatalogueError::Target { .. }), "{bad:?}: {refused}");
        assert_eq!(refused.reason(), ReasonCode::Unloadable);
        assert!(refused.to_string().contains("is not a target name"), "{refused}");
    }
}

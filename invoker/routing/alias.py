"""By which name an upstream knows a model."""

import msgspec

from shared.record import check_model_id


class Alias(msgspec.Struct, frozen=True):
    """`kept_from`: so many characters of the model's id are left out, and the others follow the name; None: all are."""

    name: str
    kept_from: int | None = None

    def of(self, model_id: str) -> str:
        """What the upstream calls it; the id itself if nothing is left of it."""
        return self.name if self.kept_from is None else self.name + model_id[self.kept_from :] or model_id


def parse_alias(text: str, prefix: str | None) -> Alias:
    """As a table says it that is for all ids which begin so, or (None) for one. `ValueError`."""
    keeps = text.endswith("*") and not text.endswith("\\*")
    name = text[:-1] if keeps else f"{text[:-2]}*" if text.endswith("\\*") else text
    if "*" in (name if keeps else name[:-1]):
        raise ValueError(f"{text!r:.80}: a * may only stand at the end; one that is meant as it is, as '\\*'")
    if keeps and prefix is None:
        raise ValueError(
            f"{text!r:.80}: a * at the end is what that of a pattern, such as 'team/*', has matched, and this table is "
            "for one id; a * that is meant as it is, as '\\*'"
        )
    if (name or not keeps) and (problem := check_model_id(name)):
        raise ValueError(problem)
    return Alias(name, len(prefix) if keeps and prefix is not None else None)

"""The hub's API for AppSync: the hub's schema with the ways to authenticate, and the resolvers'
code.
"""

import re

from dth.hub.schema import schema_text

BUILT_IN = ("scalar AWS", "directive @aws_")  # AppSync defines these itself

# The function answers with data or an error; clients distinguish errors by their type.
RESOLVER = """import { util } from '@aws-appsync/utils';
export function request(ctx) {
  return {
    operation: 'Invoke',
    payload: { arguments: ctx.arguments, identity: ctx.identity, info: { fieldName: ctx.info.fieldName } },
  };
}
export function response(ctx) {
  if (ctx.error) util.error('the hub does not answer: ' + ctx.error.message, 'INTERNAL');
  if (ctx.result.error) util.error(ctx.result.error.message, ctx.result.error.code);
  return ctx.result.data;
}
"""


def render_schema(modes: tuple[str, ...]) -> str:
    """Return the schema for these authorization modes, such as "aws_cognito_user_pools".

    Every mode gives access to all types. Comments, descriptions, and AppSync's own definitions are
    left out.
    """
    text = schema_text()
    text = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
    kept = []
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith(("#", '"', *BUILT_IN)):
            continue
        kept.append(line)
    directives = " ".join(f"@{mode}" for mode in modes)
    return (
        re.sub(
            r"^type (\w+) [^{]*\{", rf"type \1 {directives} {{", "\n".join(kept), flags=re.MULTILINE
        )
        + "\n"
    )


def root_fields() -> list[tuple[str, str]]:
    """Return ("Query" or "Mutation", the field's name), in the order of the schema."""
    text = schema_text()
    found = []
    for kind in ("Query", "Mutation"):
        body = re.search(rf"^type {kind} \{{(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
        assert body
        found += [(kind, name) for name in re.findall(r"^  (\w+)(?=[(:])", body[1], re.MULTILINE)]
    return found

import logging

from wasmrun import Context, Fail


def handle(event: dict, context: Context) -> dict:
    if not isinstance(event, dict) or not isinstance(event.get("name"), str):
        raise Fail("InvalidEvent", 'the event needs a string "name"')
    logging.info("greeting somebody")
    return {"hello": event["name"]}

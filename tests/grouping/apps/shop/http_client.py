"""One client for all partners: every request goes through it."""

import json

import requests


class ApiError(Exception):
    def __init__(self, status, url, body):
        super().__init__(f"{url} answered {status}: {body}")
        self.status_code = status


class Client:
    def __init__(self, timeout=5):
        self.timeout = timeout

    def get_json(self, url):
        return json.loads(self._get(url))

    def get_page(self, url):
        return self._get(url)

    def _get(self, url):
        return self._send("GET", url)

    def _send(self, method, url):
        answer = requests.request(method, url, timeout=self.timeout)
        return self._checked(answer)

    def _checked(self, answer):
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, answer.url, answer.text)
        return answer.text


client = Client()

import time


class Handler:
    def initialize(self, context):
        time.sleep(1000)

    def handle(self, data, context):
        return data

// SPDX-License-Identifier: MIT
module.exports = require('node:http');
